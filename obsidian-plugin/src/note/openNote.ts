/**
 * The note that is sent: the editor's own text and where the cursor stands in it, a very long one cut
 * near the cursor. What it means, the daemon reads. Pure; knows nothing about the wire.
 */
import type { EditorState, Text } from "@codemirror/state";
import { BLOCK, isWithin } from "./syntax.ts";

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
/** Of a longer one its beginning, which holds all properties but the oddest. */
const HEAD = 16_000;
/** A line that is longer is cut. */
const LINE = 4_000;
/** Before the cursor at least, in steps in which the cut rests while one types on; and after it. */
const BEFORE = 24_000;
const STEP = 16_000;
const AFTER = 2_000;

/** What is sent of the editor's note for a continuation at `at`. */
export function openNote(state: EditorState, at: number, path: string | null): OpenNote {
	const { doc } = state;
	const own = path !== null && isNote(path) ? path : null;
	if (doc.length <= WHOLE) return { path: own, text: doc.sliceString(0), cursor: at };
	const head = lineEnd(doc, HEAD);
	const from = windowStart(state, at);
	const to = whole(doc, at + AFTER);
	if (from <= head) return { path: own, text: doc.sliceString(0, Math.max(to, head)), cursor: at };
	return { path: own, text: doc.sliceString(0, head) + doc.sliceString(from, to), cursor: head + at - from, gap: head };
}

/** Whether the daemon can know a file: canvases and other files are no notes. */
export function isNote(path: string): boolean {
	return /\.(?:md|markdown)$/i.test(path);
}

/** Past the line that holds `at`; in a line that is too long, there or thereabouts. */
function lineEnd(doc: Text, at: number): number {
	const { to } = doc.lineAt(at);
	return to - at < LINE ? Math.min(to + 1, doc.length) : whole(doc, at);
}

/** Where what stands before the cursor begins: at a line, and never within a block, as of code. */
function windowStart(state: EditorState, at: number): number {
	const { doc } = state;
	const from = lineEnd(doc, Math.max(0, Math.floor((at - BEFORE) / STEP) * STEP));
	let [start, number] = [from, doc.lineAt(from).number];
	for (; number > 0 && from - start < WHOLE; number--) {
		const line = doc.line(number);
		const blank = line.length - line.text.trimStart().length;
		if (blank === line.length) continue; // an empty line of a block has no node in Obsidian's tree
		if (!isWithin(state, line.from + blank, 1, BLOCK)) return start;
		start = Math.min(start, line.from);
	}
	return number === 0 ? start : from;
}

/** `at`, or before the surrogate pair that it would cut. */
function whole(doc: Text, at: number): number {
	const end = Math.min(at, doc.length);
	return /[\uD800-\uDBFF]$/.test(doc.sliceString(Math.max(0, end - 1), end)) ? end - 1 : end;
}
