/**
 * The ghost in an editor: the field, what is drawn, the keys while one is up, and who hears of it.
 * Knows nothing about Obsidian or the daemon.
 */
import { isolateHistory } from "@codemirror/commands";
import {
	EditorSelection,
	Facet,
	findClusterBreak,
	Prec,
	type EditorState,
	StateField,
	Transaction,
	type Extension,
} from "@codemirror/state";
import { Decoration, EditorView, ViewPlugin, type DecorationSet, type ViewUpdate } from "@codemirror/view";
import {
	acceptedText,
	composed,
	cycleGhost,
	dismissGhost,
	nextGhost,
	offered,
	rest,
	type Ghost,
} from "./ghost.ts";
import { actOf, chordOf, type Act, type Keys } from "./keys.ts";
import { bringIntoSight } from "./sight.ts";
import { unitLength, type Unit } from "./units.ts";
import { GhostWidget, NoteWidget } from "./widget.ts";

/** What the rest of the plugin is told. */
export interface GhostHost {
	/** The author took this: all that the document has of ghost `id` so far; `ghost` is as it was before. */
	accepted(id: number, taken: string, ghost: Ghost): void;
	/** Ghost `id` is no longer up in `view`; `last` is its final state. */
	gone(id: number, last: Ghost, view: EditorView): void;
	/** The note that an editor shows; compared by identity. */
	noteOf(state: EditorState): unknown;
	keys(): Keys;
	/** The name of a style: "plain", "italic" or "underlined". */
	look(): string;
	/** Whether a finger writes here, which needs buttons. */
	touch(): boolean;
}

const hostFacet = Facet.define<GhostHost>();

export const ghostField = StateField.define<Ghost | null>({
	create: () => null,
	update: (before, tr) => {
		const ghost = nextGhost(before, tr);
		return ghost && ghost.note === noteOf(tr.state) ? ghost : null;
	},
	provide: (field) => EditorView.decorations.compute([field, "doc"], (state) => drawn(state, state.field(field))),
});

/** The text at the cursor; what is said of it at the line's end, never before the author's words. */
function drawn(state: EditorState, ghost: Ghost | null): DecorationSet {
	if (!ghost || ghost.composing !== null) return Decoration.none;
	const widget = GhostWidget.of(ghost, state.facet(hostFacet)[0]?.look() ?? "plain");
	const note = NoteWidget.of(ghost, state.facet(hostFacet)[0]?.touch() ? pressed : null);
	const text = Decoration.widget({ widget, side: 1 }).range(ghost.pos);
	const end = state.doc.lineAt(ghost.pos).to;
	return Decoration.set(note ? [text, Decoration.widget({ widget: note, side: 2 }).range(end)] : [text]);
}

function noteOf(state: EditorState): unknown {
	return state.facet(hostFacet)[0]?.noteOf(state) ?? null;
}

/** The ghost of an editor; null when none is up, or the editor has not our extension. */
export function ghostOf(view: EditorView): Ghost | null {
	return view.state.field(ghostField, false) ?? null;
}

/** Insert the next part of the ghost, verbatim, as one undo step of its own. */
export function accept(view: EditorView, unit: Unit): boolean {
	const ghost = ghostOf(view);
	const text = ghost && ghost.composing === null ? rest(ghost) : null;
	if (!ghost || !text || view.state.readOnly || ghost.note !== noteOf(view.state)) return false;
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

/** Vim's state, where the editor has Vim. */
function vimOf(view: EditorView): { insertMode?: boolean; visualMode?: boolean } | null {
	type Vim = { cm?: { state?: { vim?: { insertMode?: boolean; visualMode?: boolean } | null } } };
	return (view as EditorView & Vim).cm?.state?.vim ?? null;
}

/** Whether a typed letter is text: not in Vim's normal and visual modes. */
export function takesText(view: EditorView): boolean {
	const vim = vimOf(view);
	return !vim || vim.insertMode === true;
}

/**
 * Where a continuation begins: after the selection. The cursor of Vim's normal mode stands on a character; on
 * a line's last one that means after it, where no cursor of this mode can stand.
 */
export function writingPoint(view: EditorView): number {
	const { doc, selection } = view.state;
	const vim = vimOf(view);
	if (!vim || vim.insertMode || vim.visualMode || !selection.main.empty) return selection.main.to;
	const line = doc.lineAt(selection.main.head);
	const past = line.from + findClusterBreak(line.text, selection.main.head - line.from);
	return past === line.to ? past : selection.main.head;
}

function run(view: EditorView, act: Exclude<Act, "dismiss">): void {
	if (act === "next" || act === "previous") cycle(view, act === "next" ? 1 : -1);
	else accept(view, act);
}

function pressed(view: EditorView, act: Act): void {
	if (act === "dismiss") dismiss(view);
	else run(view, act);
}

/**
 * Our keys while a ghost is up, even an empty one; everything else goes on to the editor. A key that
 * was ours and is still held is nobody's: a long Tab must not indent, nor take what was not seen.
 */
function keyHandlers(): Extension {
	let held = "";
	const onKey = (event: KeyboardEvent, view: EditorView): boolean => {
		if (event.isComposing || view.composing) return false;
		const chord = chordOf(event);
		const ghost = ghostOf(view);
		const keys = view.state.facet(hostFacet)[0]?.keys();
		const act = ghost && keys ? actOf(keys, chord) : null;
		if (event.repeat && chord === held) {
			if (act && act !== "all" && act !== "dismiss") run(view, act);
			return true;
		}
		held = "";
		if (!act) return false;
		if (act === "dismiss") {
			dismiss(view);
			return vimOf(view) === null; // Vim's own Escape must still leave insert mode
		}
		held = chord;
		run(view, act);
		return true;
	};
	const onKeyUp = () => {
		held = "";
		return false;
	};
	return Prec.highest(EditorView.domEventHandlers({ keydown: onKey, keyup: onKeyUp }));
}

/**
 * A character that the ghost goes on with is typed as it is: an editor that closes quotes and brackets
 * by itself would put a second one behind it.
 */
const typedThrough = Prec.highest(
	EditorView.inputHandler.of((view, from, to, text) => {
		const ghost = ghostOf(view);
		if (!ghost || view.composing || from !== ghost.pos || to !== ghost.pos) return false;
		if (!offered(ghost).some((index) => rest(ghost, index)?.startsWith(text))) return false;
		const selection = EditorSelection.cursor(from + text.length);
		view.dispatch({ changes: { from, insert: text }, selection, userEvent: "input.type", scrollIntoView: true });
		return true;
	}),
);

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
			if (now && now !== before) bringIntoSight(update.view, now.pos);
			if (!before) return;
			for (const host of update.state.facet(hostFacet)) {
				let taken = before.taken;
				for (const tr of update.transactions) taken += tr.annotation(acceptedText) ?? "";
				if (taken !== before.taken) host.accepted(before.id, taken, before);
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
		keyHandlers(),
		typedThrough,
	];
}
