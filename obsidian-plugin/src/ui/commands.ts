/** Every act as a command, so that hotkeys, Vim and the mobile toolbar can carry it. No default keys. */
import type { Editor, Plugin } from "obsidian";
import type { EditorView } from "@codemirror/view";
import { accept, cycle, dismiss, ghostOf } from "../editor/extension.ts";
import type { Ask } from "../note/request.ts";
import type { Session } from "../session.ts";

export interface CommandHost extends Plugin {
	session: Session;
	/** Continue the note in `editor`; `ask` null means as the last time. */
	write(editor: Editor, ask: Ask | null): Promise<void>;
	writeAs(editor: Editor): Promise<void>;
	writeKind(editor: Editor, kind: "dream" | "poem"): Promise<void>;
	openView(): Promise<void>;
	act(what: "train" | "cancel" | "rollback" | "why"): Promise<void>;
	say(sentence: string): void;
}

/** The CodeMirror view behind an Obsidian editor; null in one that has none. */
export function viewOf(editor: Editor): EditorView | null {
	return (editor as Editor & { cm?: EditorView }).cm ?? null;
}

export function addCommands(host: CommandHost): void {
	addWriting(host);
	addGhostActs(host);
	const plain = (id: string, name: string, callback: () => Promise<void>) => {
		host.addCommand({ id, name, callback: () => void callback() });
	};
	plain("open-history", "Open the history", () => host.openView());
	plain("train", "Train now", () => host.act("train"));
	plain("stop-training", "Stop training", () => host.act("cancel"));
	plain("roll-back", "Go back to the generation before", () => host.act("rollback"));
	plain("why", "Why is this note used or not?", () => host.act("why"));
}

function addWriting(host: CommandHost): void {
	const writing = (id: string, name: string, write: (editor: Editor) => Promise<void>) => {
		host.addCommand({ id, name, icon: "feather", editorCallback: (editor) => void write(editor) });
	};
	writing("continue", "Continue in my voice", (editor) => host.write(editor, {}));
	writing("again", "Write another continuation", (editor) => host.write(editor, null));
	writing("continue-as", "Continue as…", (editor) => host.writeAs(editor));
	writing("ask", "Ask me a question", (editor) => host.write(editor, { form: "question" }));
	writing("dream", "Write a dream", (editor) => host.writeKind(editor, "dream"));
	writing("poem", "Write a poem", (editor) => host.writeKind(editor, "poem"));
	writing("restore", "Show the last continuation again", async (editor) => {
		const view = viewOf(editor);
		if (view && !host.session.restore(view)) host.say("There is no continuation that belongs here.");
	});
}

function addGhostActs(host: CommandHost): void {
	const act = (id: string, name: string, run: (view: EditorView) => boolean) => {
		host.addCommand({
			id,
			name,
			editorCheckCallback: (checking, editor) => {
				const view = viewOf(editor);
				if (!view || !ghostOf(view)) return false;
				return checking || run(view);
			},
		});
	};
	act("accept", "Accept the continuation", (view) => accept(view, "all"));
	act("accept-word", "Accept the next word", (view) => accept(view, "word"));
	act("accept-sentence", "Accept the next sentence", (view) => accept(view, "sentence"));
	act("accept-paragraph", "Accept the next paragraph", (view) => accept(view, "paragraph"));
	act("next", "Show the next alternative", (view) => cycle(view, 1));
	act("previous", "Show the alternative before", (view) => cycle(view, -1));
	act("stop", "Stop writing and keep what has come", (view) => host.session.stop(view));
	act("dismiss", "Dismiss the continuation", dismiss);
}
