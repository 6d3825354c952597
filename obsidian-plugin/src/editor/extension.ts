/**
 * The ghost in an editor: the field, what is drawn, the keys while one is up, and who hears of it.
 * Knows nothing about Obsidian or the daemon.
 */
import { isolateHistory } from "@codemirror/commands";
import {
	EditorSelection,
	Facet,
	Prec,
	StateField,
	Transaction,
	type Extension,
} from "@codemirror/state";
import { Decoration, EditorView, ViewPlugin, type ViewUpdate } from "@codemirror/view";
import {
	acceptedText,
	composed,
	cycleGhost,
	dismissGhost,
	nextGhost,
	rest,
	type Ghost,
} from "./ghost.ts";
import { unitLength, type Unit } from "./units.ts";
import { GhostWidget } from "./widget.ts";

/** What the rest of the plugin is told. */
export interface GhostHost {
	/** The author took this: all that the document has of ghost `id` so far. */
	accepted(id: number, taken: string): void;
	/** Ghost `id` is no longer up in `view`; `last` is its final state. */
	gone(id: number, last: Ghost, view: EditorView): void;
}

const hostFacet = Facet.define<GhostHost>();

export const ghostField = StateField.define<Ghost | null>({
	create: () => null,
	update: nextGhost,
	provide: (field) =>
		EditorView.decorations.from(field, (ghost) => {
			if (!ghost || ghost.composing !== null) return Decoration.none;
			const widget = Decoration.widget({ widget: GhostWidget.of(ghost), side: 1 });
			return Decoration.set(widget.range(ghost.pos));
		}),
});

/** The ghost of an editor; null when none is up, or the editor has not our extension. */
export function ghostOf(view: EditorView): Ghost | null {
	return view.state.field(ghostField, false) ?? null;
}

/** Insert the next part of the ghost, verbatim, as one undo step of its own. */
export function accept(view: EditorView, unit: Unit): boolean {
	const ghost = ghostOf(view);
	const text = ghost && ghost.composing === null ? rest(ghost) : null;
	if (!ghost || !text || view.state.readOnly) return false;
	const insert = text.slice(0, unitLength(text, unit));
	const done = unit === "all" ? [dismissGhost.of(null)] : [];
	view.dispatch({
		changes: { from: ghost.pos, insert: view.state.toText(insert) },
		selection: EditorSelection.cursor(ghost.pos + view.state.toText(insert).length),
		effects: done,
		annotations: [
			isolateHistory.of("full"),
			Transaction.userEvent.of("input.complete"),
			acceptedText.of(insert),
		],
		scrollIntoView: true,
	});
	return true;
}

/** Show the next (or previous) alternative. */
export function cycle(view: EditorView, step: 1 | -1): boolean {
	if (!ghostOf(view)) return false;
	view.dispatch({ effects: cycleGhost.of(step) });
	return true;
}

/** Take the ghost down. */
export function dismiss(view: EditorView): boolean {
	if (!ghostOf(view)) return false;
	view.dispatch({ effects: dismissGhost.of(null) });
	return true;
}

/** Keys that mean something only while a ghost is up; everything else goes on to the editor. */
function onKey(event: KeyboardEvent, view: EditorView): boolean {
	const ghost = ghostOf(view);
	if (!ghost || event.isComposing || view.composing || event.altKey) return false;
	const mod = event.ctrlKey || event.metaKey;
	if (event.key === "Escape" && !mod && !event.shiftKey) {
		dismiss(view);
		return !usesVim(view); // Vim's own Escape must still leave insert mode
	}
	if (event.key === "Tab" && !mod && !event.shiftKey) {
		accept(view, "all");
		return true; // Tab before the first word has come must not indent the list
	}
	if (!mod) return false;
	if (event.key === "ArrowRight") return accept(view, event.shiftKey ? "sentence" : "word");
	if (event.shiftKey) return false;
	if (event.key === "Enter") return accept(view, "paragraph");
	if (event.key === "ArrowDown") return cycle(view, 1);
	return event.key === "ArrowUp" && cycle(view, -1);
}

function usesVim(view: EditorView): boolean {
	return view.dom.querySelector(".cm-vimCursorLayer, .cm-vimMode") !== null;
}

/** After this long (ms) CodeMirror has read the last change of a composition from the DOM. */
const COMPOSITION_FLUSH_MS = 80;

/** Tells the host what became of a ghost, and judges a composition when it has ended. */
const watcher = ViewPlugin.fromClass(
	class {
		private timer: number | undefined;

		constructor(private readonly view: EditorView) {}

		update(update: ViewUpdate): void {
			const before = update.startState.field(ghostField, false) ?? null;
			const now = update.state.field(ghostField, false) ?? null;
			if (!before) return;
			for (const host of update.state.facet(hostFacet)) {
				let taken = before.taken;
				for (const tr of update.transactions) taken += tr.annotation(acceptedText) ?? "";
				if (taken !== before.taken) host.accepted(before.id, taken);
				if (before.id !== now?.id) host.gone(before.id, before, update.view);
			}
		}

		compositionEnded(): void {
			window.clearTimeout(this.timer);
			this.timer = window.setTimeout(() => {
				if (ghostOf(this.view) && !this.view.composing)
					this.view.dispatch({ effects: composed.of(null) });
			}, COMPOSITION_FLUSH_MS);
		}

		destroy(): void {
			window.clearTimeout(this.timer);
			const ghost = ghostOf(this.view);
			if (!ghost) return;
			for (const host of this.view.state.facet(hostFacet)) host.gone(ghost.id, ghost, this.view);
		}
	},
	{
		eventHandlers: {
			compositionend() {
				this.compositionEnded();
			},
		},
	},
);

/** All of it, for registerEditorExtension. */
export function ghostExtension(host: GhostHost): Extension {
	return [
		hostFacet.of(host),
		ghostField,
		watcher,
		Prec.highest(EditorView.domEventHandlers({ keydown: onKey })),
	];
}
