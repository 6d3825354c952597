/**
 * The note that is sent: the editor's own text and where the cursor stands in it, a very long one cut
 * near the cursor. What it means, the daemon reads. Pure; knows nothing about the wire.
 */
import type { Text } from "@codemirror/state";

export interface OpenNote {
	/** Null for a text that is no note of the vault, as a card of a canvas. */
	readonly path: string | null;
	readonly text: string;
	/** In UTF-16 code units, as `gap`. */
	readonly cursor: number;
	/** Where in `text` a part was left out. */
	readonly gap?: number;
}

/** A note up to this many characters is sent whole. */
const WHOLE = 100_000;
/** Of a longer one: its front matter if it ends within this, and its beginning. */
const MOST_FRONT_MATTER = 65_536;
const HEAD = 4_000;
/** Before the cursor at least, in steps in which the cut rests while one types on; and after it. */
const BEFORE = 24_000;
const STEP = 16_000;
const AFTER = 2_000;

const FENCE = /^[ \t]*(`{3,}|~{3,})/;

/** What is sent of `doc` for a continuation at `at`. */
export function openNote(doc: Text, at: number, path: string | null): OpenNote {
	const own = path !== null && isNote(path) ? path : null;
	if (doc.length <= WHOLE) return { path: own, text: doc.sliceString(0), cursor: at };
	const head = headEnd(doc);
	const from = windowStart(doc, at);
	const to = whole(doc, at + AFTER);
	if (from <= head) return { path: own, text: doc.sliceString(0, Math.max(to, head)), cursor: at };
	return { path: own, text: doc.sliceString(0, head) + doc.sliceString(from, to), cursor: head + at - from, gap: head };
}

/** Whether the daemon can know a file: canvases and other files are no notes. */
export function isNote(path: string): boolean {
	return /\.(?:md|markdown)$/i.test(path);
}

/** The end of the line that the note's beginning is cut at. */
function headEnd(doc: Text): number {
	const start = doc.sliceString(0, MOST_FRONT_MATTER);
	const opening = /^\uFEFF?---[ \t]*\n/.exec(start);
	const closing = opening && /^---[ \t]*$/m.exec(start.slice(opening[0].length));
	const front = opening && closing ? opening[0].length + closing.index + closing[0].length : 0;
	return lineEnd(doc, Math.max(front, HEAD));
}

/** Past the line that holds `at`; in a line that is too long, there or thereabouts. */
function lineEnd(doc: Text, at: number): number {
	const { to } = doc.lineAt(at);
	return to - at < HEAD ? Math.min(to + 1, doc.length) : whole(doc, at);
}

/** Where what stands before the cursor begins: at a line, and never within a block of code. */
function windowStart(doc: Text, at: number): number {
	const from = lineEnd(doc, Math.max(0, Math.floor((at - BEFORE) / STEP) * STEP));
	let fence: { mark: string; start: number } | null = null;
	let pos = 0;
	for (const line of doc.iterLines()) {
		if (pos >= from) break;
		const mark = FENCE.exec(line)?.[1];
		if (mark && !fence) fence = { mark, start: pos };
		else if (mark && fence && mark.startsWith(fence.mark)) fence = null;
		pos += line.length + 1;
	}
	return fence && from - fence.start < WHOLE ? fence.start : from;
}

/** `at`, or before the surrogate pair that it would cut. */
function whole(doc: Text, at: number): number {
	const end = Math.min(at, doc.length);
	return /[\uD800-\uDBFF]$/.test(doc.sliceString(Math.max(0, end - 1), end)) ? end - 1 : end;
}
