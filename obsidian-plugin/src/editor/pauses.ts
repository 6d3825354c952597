/**
 * Tells of a pause after what happened in an editor. What is done at a key is a few comparisons and a timer.
 */
import type { Extension } from "@codemirror/state";
import { ViewPlugin, type EditorView, type ViewUpdate } from "@codemirror/view";

/**
 * Calls `paused` so long (ms) after an update as `msAfter` says, in an editor that has the focus and composes
 * nothing. null calls off the pause under way, undefined lets it go on.
 */
export function afterPause(
	msAfter: (update: ViewUpdate) => number | null | undefined,
	paused: (view: EditorView) => void,
	calledOff: () => void = () => undefined,
): Extension {
	return ViewPlugin.fromClass(
		class {
			private timer: number | undefined;

			constructor(private readonly view: EditorView) {}

			update(update: ViewUpdate): void {
				const ms = msAfter(update);
				if (ms === undefined) return;
				this.callOff();
				if (ms !== null) this.timer = window.setTimeout(() => this.paused(), ms);
			}

			destroy(): void {
				this.callOff();
			}

			private callOff(): void {
				window.clearTimeout(this.timer);
				calledOff();
			}

			private paused(): void {
				if (this.view.hasFocus && !this.view.composing) paused(this.view);
			}
		},
	);
}

export interface PauseHost {
	/** How long (ms) a pause is now; null where nobody waits for one. */
	pauseMs(): number | null;
	paused(view: EditorView): void;
	calledOff(): void;
}

/**
 * Tells of a pause in typing. Whatever else happens in the editor calls it off: another key, a deletion,
 * a paste, the cursor moved, the focus lost.
 */
export function pauses(host: PauseHost): Extension {
	const msAfter = ({ docChanged, selectionSet, focusChanged, transactions }: ViewUpdate) => {
		if (!docChanged && !selectionSet && !focusChanged) return undefined;
		const typed = docChanged && transactions.every((tr) => !tr.docChanged || tr.isUserEvent("input.type"));
		return typed ? host.pauseMs() : null;
	};
	return afterPause(msAfter, (view) => host.paused(view), () => host.calledOff());
}
