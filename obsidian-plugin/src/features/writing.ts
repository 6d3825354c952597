/** Writing on at the cursor: the commands, the ghost in every editor, and what was accepted. */
import type { EditorState } from "@codemirror/state";
import type { EditorView } from "@codemirror/view";
import { Component, editorInfoField, MarkdownView, Platform, type Editor } from "obsidian";
import type { Core } from "../core.ts";
import type { Completion, Label, Piece } from "../daemon/api.ts";
import { Outbox } from "../daemon/outbox.ts";
import { accept, cycle, dismiss, ghostExtension, ghostOf, writingPoint } from "../editor/extension.ts";
import { openNote } from "../note/openNote.ts";
import { completion, vaultTag, type Ask } from "../note/request.ts";
import { Session, type NoteFile } from "../session.ts";
import { voiceLabel, writer } from "../words.ts";
import { AsModal } from "../ui/asModal.ts";

/** After this long (ms) the editor has read what an input method left. */
const COMPOSED_MS = 60;

export class Writing extends Component {
	readonly session: Session;
	readonly outbox: Outbox;
	/** Whether a continuation was asked for since Obsidian was opened. */
	used = false;
	private readonly asks = new WeakMap<object, Ask>();
	private readonly warned = new Set<string>();

	constructor(private readonly core: Core) {
		super();
		const { api, device } = core;
		this.outbox = new Outbox(device, ({ text, path }) => api.accepted(text, path));
		this.session = new Session({
			complete: (body, signal) => this.complete(body, signal),
			keep: (id, text, path) => this.outbox.put({ id, text, path }),
			report: () => this.report(),
			say: (sentence) => void core.say(sentence),
			complain: (error) => core.complain(error),
			noteOf: fileOf,
			keys: () => core.settings.keys,
			look: () => core.settings.look,
			touch: () => Platform.isMobile,
			voice: (label) => (core.settings.showVoice ? this.voice(label) : ""),
		});
	}

	override onload(): void {
		this.core.plugin.registerEditorExtension(ghostExtension(this.session));
		this.register(this.core.model.onReached(() => this.report()));
		this.registerEvent(
			this.core.app.workspace.on("editor-menu", (menu, editor) => {
				const entry = (title: string, run: (editor: Editor) => Promise<void>) =>
					menu.addItem((item) => item.setTitle(title).setIcon("feather").onClick(() => void run(editor)));
				entry("Continue in my voice", (at) => this.write(at, {}));
				entry("Continue as…", (at) => this.writeAs(at));
			}),
		);
		this.addWriting();
		this.addGhostActs();
	}

	override onunload(): void {
		this.session.close();
	}

	/** Continue the note in `editor`; `ask` null means as the last time in this note. */
	async write(editor: Editor, ask: Ask | null): Promise<void> {
		const view = viewOf(editor);
		const refusal = view ? refused(view.state) : "The mirror can't write in this editor.";
		if (view && Platform.isMobile) await composed(view);
		if (!view || view.composing) return;
		if (refusal) return void this.core.say(refusal);
		const file = fileOf(view.state);
		const asked = ask ?? this.asks.get(file ?? view) ?? {};
		this.asks.set(file ?? view, asked);
		this.used = true;
		const at = writingPoint(view);
		await this.session.start(view, at, this.body(view, at, asked), file);
	}

	/** Go on at `at` with what begins with `begun`, which is not in the note. */
	async writeFrom(view: EditorView, at: number, begun: string): Promise<void> {
		const grown = view.state.update({ changes: { from: at, insert: view.state.toText(begun) } }).state;
		const file = fileOf(view.state);
		const seed = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
		const note = openNote(grown, at + begun.length, file?.path ?? null);
		const body = completion(note, this.asks.get(file ?? view) ?? {}, this.core.settings, seed);
		await this.session.start(view, at, body, file, begun);
	}

	/** What is asked for a continuation of the note in `view` at `at`. */
	body(view: EditorView, at: number, ask: Ask = this.asks.get(fileOf(view.state) ?? view) ?? {}): Completion {
		const seed = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
		const asked = completion(openNote(view.state, at, fileOf(view.state)?.path ?? null), ask, this.core.settings, seed);
		return { ...asked, vaultgpt: { ...asked.vaultgpt, note: { ...asked.vaultgpt.note, may_skip: true } } };
	}

	/** Whose voice a note is written on in, in words. */
	voice(label: Label): string {
		return label.refused ?? voiceLabel(label, writer(this.core.model.daemon));
	}

	/** What the daemon expects of its text is said once, until Obsidian is opened again. */
	private async *complete(body: Completion, signal: AbortSignal): AsyncGenerator<Piece> {
		for await (const piece of this.core.api.complete(body, signal)) {
			const warning = piece.label?.warning;
			if (warning && !this.warned.has(warning)) this.core.say(warning);
			if (warning) this.warned.add(warning);
			yield piece;
		}
	}

	private async writeAs(editor: Editor): Promise<void> {
		const view = viewOf(editor);
		if (!view) return;
		const file = fileOf(view.state);
		try {
			const now = await this.core.api.label(this.body(view, writingPoint(view), {}).vaultgpt);
			if (fileOf(view.state) !== file || !view.dom.isConnected) return; // another note was opened meanwhile
			if (now.refused) return void this.core.say(now.refused);
			const census = this.core.model.daemon.census ?? { tags: {}, years: {} };
			new AsModal(this.core.app, census, now, (ask) => void this.write(editor, ask)).open();
		} catch (error) {
			this.core.complain(error);
		}
	}

	private async writeKind(editor: Editor, kind: "dream" | "poem"): Promise<void> {
		const tag = vaultTag(kind, this.core.model.daemon.census?.tags ?? {});
		await this.write(editor, { tags: [tag] });
	}

	private report(): void {
		void this.outbox.flush().catch(() => undefined); // what was not sent stays on the shelf
	}

	private addWriting(): void {
		const writing = (id: string, name: string, write: (editor: Editor) => Promise<void>) => {
			const callback = () => {
				const editor = this.editor();
				if (typeof editor === "string") this.core.say(editor);
				else void write(editor).catch((error: unknown) => this.core.complain(error));
			};
			this.core.plugin.addCommand({ id, name, icon: "feather", callback });
		};
		writing("continue", "Continue in my voice", (editor) => this.write(editor, {}));
		writing("again", "Write another continuation", (editor) => this.write(editor, null));
		writing("continue-as", "Continue as…", (editor) => this.writeAs(editor));
		writing("ask", "Ask me a question", (editor) => this.write(editor, { form: "question" }));
		writing("dream", "Write a dream", (editor) => this.writeKind(editor, "dream"));
		writing("poem", "Write a poem", (editor) => this.writeKind(editor, "poem"));
		writing("restore", "Show the last continuation again", async (editor) => {
			const view = viewOf(editor);
			if (view && !this.session.restore(view)) this.core.say("There is no continuation that belongs here.");
		});
	}

	/** The editor to write in, or why there is none. */
	private editor(): Editor | string {
		const { workspace } = this.core.app;
		const note = workspace.getActiveViewOfType(MarkdownView);
		if (note?.getMode() === "preview") return "This note is in reading view: switch to editing to write on.";
		return workspace.activeEditor?.editor ?? "Open a note first; the mirror writes on at its cursor.";
	}

	private addGhostActs(): void {
		const act = (id: string, name: string, run: (view: EditorView) => boolean) => {
			this.core.plugin.addCommand({
				id,
				name,
				editorCheckCallback: (checking, editor) => {
					const view = viewOf(editor);
					if (!view || !ghostOf(view)) return false;
					return checking || run(view);
				},
			});
		};
		act("accept", "Take all of the continuation", (view) => accept(view, "all"));
		act("accept-word", "Take the next word", (view) => accept(view, "word"));
		act("accept-sentence", "Take the next sentence", (view) => accept(view, "sentence"));
		act("accept-paragraph", "Take the next paragraph", (view) => accept(view, "paragraph"));
		act("next", "Show the next alternative", (view) => cycle(view, 1));
		act("previous", "Show the alternative before", (view) => cycle(view, -1));
		act("stop", "Stop writing and keep what has come", (view) => this.session.stop(view));
		act("dismiss", "Dismiss the continuation", dismiss);
	}
}

/** A phone's keyboard composes every word as it is typed: end that, so that it stands in the note. */
async function composed(view: EditorView): Promise<void> {
	if (!view.composing) return;
	view.contentDOM.blur();
	await sleep(COMPOSED_MS);
	view.focus();
}

/** Why nothing can be written in an editor as it stands; null where it can. */
export function refused(state: EditorState): string | null {
	if (state.readOnly) return "This note can't be changed, so nothing is written in it.";
	const cursors = state.selection.ranges.length;
	return cursors > 1 ? `There are ${cursors} cursors, and the mirror writes at one: press Escape to leave one.` : null;
}

/** The CodeMirror view behind an Obsidian editor; null in one that has none. */
export function viewOf(editor: Editor): EditorView | null {
	return (editor as Editor & { cm?: EditorView }).cm ?? null;
}

/** The note that an editor shows; the same object after a rename. */
export function fileOf(state: EditorState): NoteFile | null {
	return state.field(editorInfoField, false)?.file ?? null;
}
