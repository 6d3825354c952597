/**
 * As you type: after a pause at the end of a line, the next few words, where the mirror is sure of them.
 * Off unless it is turned on, and on a phone, which can't call a request off. It says nothing, never delays
 * a key, and gives way to the hotkey.
 */
import type { EditorView } from "@codemirror/view";
import { Component, MarkdownView, Platform } from "obsidian";
import type { Core } from "../core.ts";
import type { Completion } from "../daemon/api.ts";
import { ghostOf, takesText } from "../editor/extension.ts";
import { pauses } from "../editor/pauses.ts";
import { isWelcome, Patience } from "../note/typing.ts";
import { fileOf, refused, type Writing } from "./writing.ts";

export class Typing extends Component {
	private readonly patience = new Patience();
	private asking: AbortController | null = null;

	constructor(
		private readonly core: Core,
		private readonly writing: Writing,
	) {
		super();
	}

	override onload(): void {
		const { core, patience } = this;
		const { session } = this.writing;
		const calledOff = () => this.callOff();
		const pauseMs = () => (this.wanted() ? patience.pauseMs(Date.now()) : null);
		core.plugin.registerEditorExtension(pauses({ pauseMs, paused: (view) => void this.paused(view), calledOff }));
		this.register(session.onStart(calledOff));
		this.register(session.onJudged((taken) => (taken ? patience.taken() : patience.dismissed(Date.now()))));
	}

	override onunload(): void {
		this.callOff();
	}

	private wanted(): boolean {
		return this.core.settings.asYouType && this.core.model.daemon.online && !Platform.isMobile;
	}

	private callOff(): void {
		this.asking?.abort();
		this.asking = null;
	}

	/** Ask, and show what comes if the author still waits where they paused. */
	private async paused(view: EditorView): Promise<void> {
		if (!this.isOpen(view)) return;
		this.callOff();
		const { signal } = (this.asking = new AbortController());
		const { doc, selection } = view.state;
		const file = fileOf(view.state);
		const words = await this.words(this.clause(view), signal);
		const same = view.state.doc === doc && view.state.selection.eq(selection) && fileOf(view.state) === file;
		if (words.trim() && !signal.aborted && same && this.isOpen(view)) this.writing.session.suggest(view, words);
	}

	private clause(view: EditorView): Completion {
		const body = this.writing.body(view, view.state.selection.main.head, {});
		return { ...body, n: 1, temperature: 0, vaultgpt: { ...body.vaultgpt, length: "clause" } };
	}

	/** What the mirror is sure of; "" for nothing, also where it can't be asked: nobody waits for it. */
	private async words(body: Completion, signal: AbortSignal): Promise<string> {
		let words = "";
		try {
			for await (const { text } of this.core.api.complete(body, signal)) words += text;
		} catch (error) {
			this.core.log(error);
			return "";
		}
		return words;
	}

	/** Whether words may be shown unasked in an editor as it stands. */
	private isOpen(view: EditorView): boolean {
		const { selection } = view.state;
		if (!this.wanted() || refused(view.state) || ghostOf(view) || !view.hasFocus || view.composing || !takesText(view)) return false;
		if (!selection.main.empty || !isWelcome(view.state, selection.main.head)) return false;
		return this.core.app.workspace.getActiveViewOfType(MarkdownView)?.getMode() !== "preview";
	}
}
