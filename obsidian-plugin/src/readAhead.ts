/**
 * Lets the daemon read the note while its author pauses, so that the next hotkey is answered at
 * once. Only after a first continuation was asked for: who does not use it does not pay for it.
 */
import { ViewPlugin, type EditorView, type ViewUpdate } from "@codemirror/view";
import type { Extension } from "@codemirror/state";
import { ghostOf } from "./editor/extension.ts";

/** A pause (ms) after which the author may want the mirror. */
const PAUSE_MS = 1_500;

/** Calls `warm` after a pause in typing, while `wanted` says so. */
export function readAhead(wanted: () => boolean, warm: (view: EditorView) => void): Extension {
	return ViewPlugin.fromClass(
		class {
			private timer: number | undefined;

			constructor(private readonly view: EditorView) {}

			update(update: ViewUpdate): void {
				if (!update.docChanged || !wanted()) return;
				window.clearTimeout(this.timer);
				this.timer = window.setTimeout(() => {
					if (this.view.hasFocus && !this.view.composing && !ghostOf(this.view)) warm(this.view);
				}, PAUSE_MS);
			}

			destroy(): void {
				window.clearTimeout(this.timer);
			}
		},
	);
}
