// The page: loads the installed main.js as Obsidian does, and gives the tests an editor to write in.
import * as commands from "@codemirror/commands";
import { markdown } from "@codemirror/lang-markdown";
import * as language from "@codemirror/language";
import * as state from "@codemirror/state";
import * as view from "@codemirror/view";
import { vim } from "@replit/codemirror-vim";
import { installDom } from "./dom.ts";
import { livePreview } from "./livePreview.ts";
import * as obsidian from "./obsidian.ts";

const modules: Record<string, unknown> = {
	obsidian,
	"@codemirror/commands": commands,
	"@codemirror/language": language,
	"@codemirror/state": state,
	"@codemirror/view": view,
};

export class Bench {
	readonly app = new obsidian.App();
	readonly obsidian = obsidian;
	readonly state = state;
	/** Keys as the author might have set them. */
	readonly hotkeys: Record<string, string> = { "Ctrl+;": "continue", "Ctrl+'": "again" };
	/** What the plugin asked to be given. */
	readonly required: string[] = [];
	plugin: obsidian.Plugin | null = null;
	editor: view.EditorView | null = null;
	/** Open notes in the stand-in for Live Preview, in place of plain source. */
	livePreview = false;
	/** With Vim's keys. */
	vim = false;

	async load(): Promise<void> {
		const code = await (await fetch("/main.js")).text();
		const manifest = (await (await fetch("/manifest.json")).json()) as { id: string; name: string };
		const module = { exports: {} as Record<string, unknown> };
		const require = (name: string) => {
			this.required.push(name);
			if (name in modules) return modules[name];
			throw new Error(`there is no ${name} here`);
		};
		new Function("module", "exports", "require", code)(module, module.exports, require);
		const Main = module.exports["default"] as new (app: obsidian.App, manifest: unknown) => obsidian.Plugin;
		this.plugin = new Main(this.app, manifest);
		await (this.plugin as unknown as { onload(): Promise<void> }).onload();
	}

	/** What Obsidian does when its windows stand. */
	ready(): void {
		for (const callback of this.app.workspace.ready.splice(0)) callback();
	}

	/** A note in the editor; `¦` marks the cursor, or `|` where there is no `¦`; else it is at the end. */
	open(path: string, marked: string): void {
		this.editor?.destroy();
		const mark = marked.includes("¦") ? "¦" : "|";
		const at = marked.includes(mark) ? marked.indexOf(mark) : marked.length;
		this.editor = new view.EditorView({
			parent: document.querySelector("#note") ?? document.body,
			state: state.EditorState.create({
				doc: marked.replace(mark, ""),
				selection: { anchor: at },
				extensions: [
					this.vim ? vim() : [],
					obsidian.editorInfoField.init(() => ({ file: { path } })),
					view.keymap.of([commands.indentWithTab, ...commands.defaultKeymap, ...commands.historyKeymap]),
					commands.history(),
					state.EditorState.allowMultipleSelections.of(true),
					markdown(),
					this.livePreview ? livePreview() : [],
					language.syntaxHighlighting(language.defaultHighlightStyle),
					view.EditorView.lineWrapping,
					view.EditorView.domEventHandlers({ keydown: (event) => this.hotkey(event) }),
					this.plugin?.extensions ?? [],
				],
			}),
		});
		this.editor.focus();
		const title = document.querySelector("#title");
		if (title) title.textContent = path.replace(/^.*\/|\.md$/g, "");
		this.app.workspace.opened({ path }, new obsidian.MarkdownView({ cm: this.editor }));
	}

	run(id: string): boolean {
		const command = this.plugin?.commands.get(id);
		if (!command) throw new Error(`no command ${id}`);
		const editor = this.editor && { cm: this.editor };
		if (command.editorCheckCallback) {
			if (!editor || !command.editorCheckCallback(true, editor)) return false;
			command.editorCheckCallback(false, editor);
		} else if (command.editorCallback && editor) command.editorCallback(editor);
		else command.callback?.();
		return true;
	}

	settings(): void {
		const tab = this.plugin?.tab;
		if (!tab) throw new Error("no settings");
		tab.display();
		document.querySelector("#settings")?.replaceChildren(tab.containerEl);
	}

	undo(): void {
		if (this.editor) commands.undo(this.editor);
	}

	doc(): string {
		return this.editor?.state.doc.toString() ?? "";
	}

	/** The whole ghost of the shown alternative; null when none is up. */
	ghost(): string | null {
		const box = document.querySelector(".vaultgpt-ghost");
		return box && !box.classList.contains("is-waiting") ? (box.querySelector(".vaultgpt-ghost-text")?.textContent ?? "") : box ? "" : null;
	}

	part(name: "counter" | "voice"): string {
		return document.querySelector(`.vaultgpt-ghost-${name}`)?.textContent ?? "";
	}

	/** Where the ghost's first line and the cursor are drawn, in pixels. */
	place(): { ghost: DOMRect; cursor: { left: number; top: number; bottom: number } } {
		const box = document.querySelector(".vaultgpt-ghost");
		const at = this.editor?.coordsAtPos(this.editor.state.selection.main.head, -1);
		const rect = box?.getClientRects()[0];
		if (!rect || !at) throw new Error("no ghost is drawn");
		return { ghost: rect, cursor: { left: at.left, top: at.top, bottom: at.bottom } };
	}

	/** The last request as the plugin sent it. */
	lastRequest(): unknown {
		return (this.plugin as unknown as { writing: { session: { lastRequest: unknown } } }).writing.session.lastRequest;
	}

	/** Change settings, as the author would in the tab. */
	async wish(change: Record<string, unknown>): Promise<void> {
		await (this.plugin as unknown as { core: { change(change: unknown): Promise<void> } }).core.change(change);
	}

	private hotkey(event: KeyboardEvent): boolean {
		const id = this.hotkeys[`${event.ctrlKey ? "Ctrl+" : ""}${event.key}`];
		return id !== undefined && this.run(id);
	}
}

/** Seeds are 1, 2, 3 and so on: the same texts in every run of the suite. */
let seeds = 0;
const random = crypto.getRandomValues.bind(crypto);
crypto.getRandomValues = <T extends ArrayBufferView | null>(array: T): T => (array instanceof Uint32Array ? (array.fill(++seeds) as unknown as T) : random(array as never));

installDom();
const bench = new Bench();
Object.assign(window, { bench });
