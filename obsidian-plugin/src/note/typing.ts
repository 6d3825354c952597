/**
 * Where words may be shown unasked, and how patient that is with an author who does not want them.
 * Pure; knows nothing about editors, timers or the daemon.
 */
import type { Text } from "@codemirror/state";
import { FENCE, NO_PROSE } from "./likeness.ts";

/** Times in milliseconds: after the last key, the same after SLOW dismissals in a row, the rest after MOST. */
const PAUSE_MS = 350;
const SLOW_PAUSE_MS = 1_500;
const REST_MS = 60_000;
const [SLOW, MOST] = [5, 10];

const WORD = /[\p{L}\p{N}]/u;
/** A link, an address or a tag that is being typed. */
const OPEN = /\[\[[^\]]*$|https?:\S*$|(?:^|\s)#\S*$/;
const UNDERLINE = /^ {0,3}(?:=+|-+)[ \t]*$/;

/** Whether a few words would be welcome at `at`: the end of a line of prose that has a word already. */
export function isWelcome(doc: Text, at: number): boolean {
	const line = doc.lineAt(at);
	const before = line.text.slice(0, at - line.from);
	if (line.text.slice(before.length).trim() !== "") return false;
	if (!WORD.test(before) || NO_PROSE.test(before) || OPEN.test(before)) return false;
	if ((before.match(/`/g)?.length ?? 0) % 2 === 1) return false;
	if (line.number < doc.lines && UNDERLINE.test(doc.line(line.number + 1).text)) return false;
	return !inBlock(doc, line.number);
}

/** Whether line `number` lies in the front matter, a block of code, of maths or of a comment. */
function inBlock(doc: Text, number: number): boolean {
	let [at, front, open] = [0, false, ""];
	for (const line of doc.iterLines(1, number + 1)) {
		at++;
		if (at === 1 && /^\uFEFF?---[ \t]*$/.test(line)) front = true;
		else if (front) front = !/^---[ \t]*$/.test(line);
		else {
			const mark = FENCE.exec(line)?.[0].trim() ?? /^\s*(?:\$\$|%%)/.exec(line)?.[0].trim() ?? "";
			const closed = mark.length < 3 && line.trim().length > 2 && line.trim().endsWith(mark);
			if (open === "" && mark && !closed) open = mark;
			else if (mark === open) open = "";
		}
	}
	return front || open !== "";
}

/** After some dismissals in a row it waits longer, after more of them it rests. */
export class Patience {
	private dismissals = 0;
	private restsUntil = 0;

	/** The pause after which it may show something; null while it rests. `now` in milliseconds. */
	pauseMs(now: number): number | null {
		if (now < this.restsUntil) return null;
		return this.dismissals >= SLOW ? SLOW_PAUSE_MS : PAUSE_MS;
	}

	taken(): void {
		this.dismissals = 0;
	}

	dismissed(now: number): void {
		if (++this.dismissals < MOST) return;
		this.dismissals = SLOW;
		this.restsUntil = now + REST_MS;
	}
}
