/**
 * The ghost: text proposed at the cursor, as CodeMirror state. It is no part of the document until
 * it is accepted. Knows nothing about Obsidian, the daemon or how the text is drawn.
 */
import { Annotation, StateEffect, type EditorState, type Transaction } from "@codemirror/state";

/** What is proposed at `pos`. `taken` is what the document already has of it, before `pos`. */
export interface Ghost {
	readonly id: number;
	readonly pos: number;
	readonly taken: string;
	readonly texts: readonly string[];
	readonly done: readonly boolean[];
	readonly index: number;
	readonly label: string;
	/** The note that it belongs to, as the host knows it. */
	readonly note: unknown;
	/** Where an input method's composition began; null when none is under way. */
	readonly composing: number | null;
}

export interface GhostStart {
	id: number;
	pos: number;
	count: number;
	note: unknown;
	/** What every alternative begins with. */
	begun?: string;
}

export interface GhostPiece {
	id: number;
	index: number;
	text: string;
	done: boolean;
}

export const startGhost = StateEffect.define<GhostStart>({
	map: (value, changes) => ({ ...value, pos: changes.mapPos(value.pos, 1) }),
});
export const addPieces = StateEffect.define<readonly GhostPiece[]>();
/** Whose voice it is, once that is known. */
export const labelGhost = StateEffect.define<{ id: number; label: string }>();
/** Nothing more will come for this ghost; what has arrived stays acceptable. */
export const endStream = StateEffect.define<number>();
export const cycleGhost = StateEffect.define<1 | -1>();
export const dismissGhost = StateEffect.define<null>();
/** Puts a whole ghost (back) up; ignored when the cursor is not where it belongs. */
export const restoreGhost = StateEffect.define<Ghost>();
export const composed = StateEffect.define<null>();
/** Marks the one transaction that inserts accepted text; the value is what was inserted. */
export const acceptedText = Annotation.define<string>();

/** What alternative `index` still has to offer: null when it can't match the document any more. */
export function rest(ghost: Ghost, index: number = ghost.index): string | null {
	const text = ghost.texts[index] ?? "";
	if (text.startsWith(ghost.taken)) return text.slice(ghost.taken.length);
	return !ghost.done[index] && ghost.taken.startsWith(text) ? "" : null;
}

/** The alternatives that can still be taken, in order. */
export function offered(ghost: Ghost): number[] {
	return ghost.texts.flatMap((_, index) => {
		const left = rest(ghost, index);
		return left === null || (left === "" && ghost.done[index]) ? [] : [index];
	});
}

/** The ghost after one transaction. */
export function nextGhost(before: Ghost | null, tr: Transaction): Ghost | null {
	let ghost = before;
	if (ghost && tr.docChanged) ghost = afterChange(ghost, tr);
	else if (ghost && tr.selection && !atCursor(ghost, tr.state)) ghost = null;
	for (const effect of tr.effects) ghost = afterEffect(ghost, effect, tr.state);
	return ghost === before ? before : settled(ghost);
}

function afterEffect(
	ghost: Ghost | null,
	effect: StateEffect<unknown>,
	state: EditorState,
): Ghost | null {
	if (effect.is(startGhost)) return started(effect.value);
	if (effect.is(restoreGhost)) return atCursor(effect.value, state) ? effect.value : ghost;
	if (!ghost) return null;
	if (effect.is(addPieces)) return effect.value.reduce(withPiece, ghost);
	if (effect.is(labelGhost)) return effect.value.id === ghost.id ? { ...ghost, label: effect.value.label } : ghost;
	if (effect.is(endStream) && effect.value === ghost.id)
		return { ...ghost, done: ghost.done.map(() => true) };
	if (effect.is(cycleGhost)) return cycled(ghost, effect.value);
	if (effect.is(composed)) return afterComposition(ghost, state);
	return effect.is(dismissGhost) ? null : ghost;
}

function started({ id, pos, count, note, begun = "" }: GhostStart): Ghost {
	const texts = Array.from({ length: count }, () => begun);
	const done = texts.map(() => false);
	return { id, pos, taken: "", texts, done, index: 0, label: "", note, composing: null };
}

function withPiece(ghost: Ghost, piece: GhostPiece): Ghost {
	if (piece.id !== ghost.id || ghost.done[piece.index] !== false) return ghost;
	const texts = ghost.texts.map((text, index) => (index === piece.index ? text + piece.text : text));
	const done = ghost.done.map((over, index) => over || (index === piece.index && piece.done));
	return { ...ghost, texts, done };
}

function cycled(ghost: Ghost, step: 1 | -1): Ghost {
	const open = offered(ghost).filter((index) => index === ghost.index || rest(ghost, index));
	const at = open.indexOf(ghost.index);
	const index = open[(at + step + open.length) % open.length] ?? ghost.index;
	return { ...ghost, index };
}

/** No ghost without an alternative left; the shown one is one of them. */
function settled(ghost: Ghost | null): Ghost | null {
	if (!ghost || ghost.composing !== null) return ghost;
	const open = offered(ghost);
	if (open.length === 0) return null;
	return open.includes(ghost.index) ? ghost : { ...ghost, index: open[0] ?? 0 };
}

function atCursor(ghost: Ghost, state: EditorState): boolean {
	const { ranges, main } = state.selection;
	return ranges.length === 1 && main.empty && main.head === ghost.pos;
}

interface Change {
	from: number;
	to: number;
	inserted: string;
}

function afterChange(ghost: Ghost, tr: Transaction): Ghost | null {
	const changes: Change[] = [];
	tr.changes.iterChanges((from, to, _fromB, _toB, inserted) => {
		changes.push({ from, to, inserted: inserted.toString() });
	});
	const near = changes.filter(({ from, to }) => from <= ghost.pos && ghost.pos <= to);
	const only = changes.length === 1 ? changes[0] : undefined;
	if (tr.isUserEvent("input.type.compose") || ghost.composing !== null)
		return whileComposing(ghost, tr);
	const next = near.length === 0 ? moved(ghost, tr) : only ? touched(ghost, only) : null;
	return next && atCursor(next, tr.state) ? next : null;
}

function moved(ghost: Ghost, tr: Transaction): Ghost {
	return { ...ghost, pos: tr.changes.mapPos(ghost.pos, 1) };
}

/** Text typed (or accepted) at the ghost consumes it; what was taken and is deleted comes back. */
function touched(ghost: Ghost, { from, to, inserted }: Change): Ghost | null {
	if (to !== ghost.pos) return null;
	const lost = to - from;
	if (lost > ghost.taken.length) return null;
	const taken = ghost.taken.slice(0, ghost.taken.length - lost) + inserted;
	return { ...ghost, taken, pos: from + inserted.length };
}

/** Composition replaces its own text over and over; it is judged when it ends. */
function whileComposing(ghost: Ghost, tr: Transaction): Ghost | null {
	const composing = tr.changes.mapPos(ghost.composing ?? ghost.pos, -1);
	const pos = tr.state.selection.main.head;
	return pos < composing || !tr.state.selection.main.empty ? null : { ...ghost, composing, pos };
}

function afterComposition(ghost: Ghost, state: EditorState): Ghost | null {
	if (ghost.composing === null) return ghost;
	const inserted = state.sliceDoc(ghost.composing, ghost.pos);
	const next = { ...ghost, composing: null, taken: ghost.taken + inserted };
	return atCursor(next, state) ? next : null;
}
