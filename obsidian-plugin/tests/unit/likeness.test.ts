import { EditorView } from "@codemirror/view";
import { expect, test } from "vitest";
import { marking } from "../../src/editor/marks.ts";
import { extremes, judged, passagesOf, sentencesOf } from "../../src/note/likeness.ts";

const NOTE = `---
tags: [dream]
---
# The baths were cold that day

I swam past the clock and the café. Nobody blew a whistle that night! Too short.

\`\`\`
code is no sentence of mine here
\`\`\`
- [ ] Gerald folded the last of the towels
> A quote of somebody else's words here.
| a | table's row of many words here |
😀 The sea was in the kitchen again.`;

test("a note's sentences are its prose, each where it stands", () => {
	const found = sentencesOf(NOTE);
	expect(found.map(({ text }) => text)).toEqual([
		"I swam past the clock and the café.",
		"Nobody blew a whistle that night!",
		"Gerald folded the last of the towels",
		"😀 The sea was in the kitchen again.",
	]);
	for (const { from, to, text } of found) expect(NOTE.slice(from, to)).toBe(text);
});

test("passages keep sentences whole and know where each begins; a long note is looked at from its end", () => {
	const long = Array.from({ length: 3_000 }, (_, n) => `This is sentence number ${n} of a long note.`).join(" ");
	const passages = passagesOf(long);
	expect(passages).toHaveLength(32);
	for (const { text, sentences, starts } of passages) {
		expect(text.length).toBeLessThanOrEqual(1_700);
		sentences.forEach((sentence, n) => expect(text.slice(starts[n] ?? 0).startsWith(sentence.text)).toBe(true));
	}
	expect(passages.at(-1)?.text.endsWith("number 2999 of a long note.")).toBe(true);
	expect(passagesOf("Nothing.")).toEqual([]);
});

test("a sentence is judged by its own tokens, by the share that the voice is less surprised", () => {
	const [passage] = passagesOf("One two three four five. Six seven eight nine ten.");
	if (!passage) throw new Error("no passage");
	const scores = (first: number, second: number) => [
		{ at: 0, logprob: null },
		{ at: 4, logprob: -first * Math.LN2 },
		{ at: 24, logprob: -second * Math.LN2 }, // " Six": its space stands before the sentence
		{ at: 28, logprob: -second * Math.LN2 },
	];
	const all = judged(passage, scores(24, 25), scores(48, 12.5));
	expect(all.map(({ gain }) => Number(gain.toFixed(3)))).toEqual([0.5, -1]);
	expect(extremes(all)).toBeNull();
	const third = { from: 0, to: 1, text: "x", gain: 0.2 };
	expect(extremes([...all, third])).toMatchObject({ least: { gain: all[1]?.gain }, most: { gain: all[0]?.gain } });
});

test("a mark goes when its stretch is edited, and moves with edits elsewhere", () => {
	const marks = marking();
	const view = new EditorView({ doc: "One two three four", extensions: marks.extension });
	const mark = (from: number, to: number) => ({ from, to, cls: "x", title: "why" });
	view.dispatch({ effects: marks.set.of([mark(4, 7), mark(14, 18)]) });
	view.dispatch({ changes: { from: 0, insert: "So: " } });
	const shown = () => Array.from(view.contentDOM.querySelectorAll(".x"), (element) => element.textContent);
	expect(shown()).toEqual(["two", "four"]);
	view.dispatch({ changes: { from: 9, insert: "u" } });
	expect(shown()).toEqual(["four"]);
	expect(view.contentDOM.querySelector(".x")?.getAttribute("title")).toBe("why");
	view.dispatch({ effects: marks.set.of([]) });
	expect(marks.isIn(view)).toBe(false);
});
