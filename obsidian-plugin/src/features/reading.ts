/**
 * Lets the daemon read the note while its author pauses, so that the next hotkey is answered at
 * once. Only after a first continuation was asked for: who does not use it does not pay for it. Not from a
 * phone, where every pause would cost its battery and go over the network.
 */
import type { EditorView, ViewUpdate } from "@codemirror/view";
import { Component, Platform } from "obsidian";
import type { Core } from "../core.ts";
import { ghostOf } from "../editor/extension.ts";
import { afterPause } from "../editor/pauses.ts";
import type { Writing } from "./writing.ts";

/** A pause (ms) after which the author may want the mirror. */
const PAUSE_MS = 1_500;

export class Reading extends Component {
	private asking = new AbortController();

	constructor(
		private readonly core: Core,
		private readonly writing: Writing,
	) {
		super();
	}

	override onload(): void {
		const wanted = () => !Platform.isMobile && this.writing.used && this.core.settings.readAhead && this.core.model.daemon.online;
		const msAfter = ({ docChanged }: ViewUpdate) => (docChanged && wanted() ? PAUSE_MS : undefined);
		this.core.plugin.registerEditorExtension(afterPause(msAfter, (view) => void this.read(view)));
		this.register(this.writing.session.onStart(() => this.asking.abort()));
	}

	override onunload(): void {
		this.asking.abort();
	}

	private async read(view: EditorView): Promise<void> {
		if (ghostOf(view)) return;
		this.asking.abort();
		this.asking = new AbortController();
		const { vaultgpt } = this.writing.body(view, view.state.selection.main.head);
		await this.core.api.warm(vaultgpt, this.asking.signal).catch(() => undefined); // a hint, nothing is lost
	}
}
