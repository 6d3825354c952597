/**
 * Keeps a ghost in sight: what would lie below the fold is scrolled up, until the cursor stands in the
 * upper third.
 */
import type { EditorView } from "@codemirror/view";

/** Pixels left free below the ghost. */
const MARGIN = 8;

/** Scroll as far as the ghost at `pos` needs. Where the cursor is out of sight, the author looks elsewhere. */
export function bringIntoSight(view: EditorView, pos: number): void {
	view.requestMeasure({
		key: bringIntoSight,
		read: () => {
			const scroller = scrollerOf(view);
			const cursor = scroller && view.coordsAtPos(pos, -1);
			if (!cursor) return null;
			const { top, bottom } = scroller.getBoundingClientRect();
			const fold = Math.min(bottom, view.dom.ownerDocument.documentElement.clientHeight);
			if (cursor.bottom < top || cursor.top > fold) return null;
			const drawn = view.contentDOM.querySelectorAll(".vaultgpt-ghost, .vaultgpt-ghost-note");
			const lowest = Math.max(...Array.from(drawn, (element) => element.getBoundingClientRect().bottom));
			return { scroller, by: Math.min(lowest + MARGIN - fold, cursor.top - top - (fold - top) / 3) };
		},
		write: (found) => {
			if (found && found.by > 0) found.scroller.scrollTop += found.by;
		},
	});
}

function scrollerOf(view: EditorView): HTMLElement | null {
	for (let element: HTMLElement | null = view.scrollDOM; element; element = element.parentElement) {
		const { overflowY } = element.win.getComputedStyle(element);
		if (/auto|scroll/.test(overflowY) && element.scrollHeight > element.clientHeight) return element;
	}
	return null;
}
