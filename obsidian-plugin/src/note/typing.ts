/**
 * Where words may be shown unasked, and how patient that is with an author who does not want them. What
 * the editor's parser can't tell, the daemon refuses. Pure; knows nothing about timers or the daemon.
 */
import type { EditorState } from "@codemirror/state";
import { isWithin, NO_PROSE } from "./syntax.ts";

/** Times in milliseconds: after the last key, the same after SLOW dismissals in a row, the rest after MOST. */
const PAUSE_MS = 350;
const SLOW_PAUSE_MS = 1_500;
const REST_MS = 60_000;
const [SLOW, MOST] = [5, 10];

const WORD = /[\p{L}\p{N}]/u;
/** A link, an address or a tag that is being typed, which no parser knows yet; an embed, which ends a line. */
const OPEN = /\[\[[^\]]*$|!\[\[[^\]]*\]\]$|https?:\S*$|(?:^|\s)#\S*$/;

/** Whether a few words would be welcome at `at`: the end of a line of prose that has a word already. */
export function isWelcome(state: EditorState, at: number): boolean {
	const line = state.doc.lineAt(at);
	const before = line.text.slice(0, at - line.from);
	if (line.text.slice(before.length).trim() !== "" || !WORD.test(before) || OPEN.test(before)) return false;
	if ((before.match(/`/g)?.length ?? 0) % 2 === 1) return false;
	return !isWithin(state, line.from + before.trimEnd().length, -1, NO_PROSE);
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
