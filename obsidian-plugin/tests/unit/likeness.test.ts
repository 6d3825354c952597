import { EditorView } from "@codemirror/view";
import { expect, test } from "vitest";
import { marking } from "../../src/editor/marks.ts";
import { likenessOf } from "../../src/daemon/answers.ts";

test("an answer is read with care: what is no stretch of the note is no sentence of it", () => {
	const sentences = [{ start: 3, end: 9, gain: -0.25 }, { start: 4, end: 4, gain: 1 }, null, { start: "1", end: 5 }];
	expect(likenessOf({ refused: null, sentences })).toEqual({
		refused: null,
		sentences: [{ start: 3, end: 9, gain: -0.25 }, { start: 0, end: 5, gain: 0 }],
	});
	const refused = { code: "tag", why: "It has the excluded tag #private." };
	expect(likenessOf({ refused, sentences: [] })).toEqual({ refused: refused.why, sentences: [] });
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
