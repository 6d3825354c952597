import { undo } from "@codemirror/commands";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { accept, dismiss } from "../../src/editor/extension.ts";
import { pauses } from "../../src/editor/pauses.ts";
import { isWelcome, Patience } from "../../src/note/typing.ts";
import { bench, typeInto } from "./editor.ts";
import { parsed, PARSERS } from "./parsed.ts";
import { setup } from "./sessions.ts";

beforeEach(() => void vi.useFakeTimers());

afterEach(() => {
	vi.useRealTimers();
	document.body.replaceChildren();
});

describe.each(PARSERS)("by the tree of %s", (parser) => {
	const welcome = (marked: string) => isWelcome(parsed(marked.replace("¦", ""), parser), marked.indexOf("¦"));

	test.each([
		"Last night I was¦",
		"Last night I was in the pool. ¦  \nNext",
		"- the clock¦",
		"---\ntags: dream\n---\nLast night¦",
		"```\ncode\n```\nThe pool¦",
		"````\n```\ncode\n```\n````\nThe pool¦",
		"I pressed `Tab` and¦",
		"$$ x $$\nThe pool¦",
		"%% x %%\nThe pool¦",
	])("words are welcome at the end of a line of prose: %s", (marked) => expect(welcome(marked)).toBe(true));

	test.each([
		"Last night¦ I was",
		"¦",
		"The pool\n¦",
		"- ¦",
		"# The baths¦",
		"> They said¦",
		"```js\nlet x¦",
		"~~~\nlet x¦\n~~~",
		"````\n```\nlet x\n```\nlet y¦\n````",
		"I pressed `Tab¦",
		"---\ntags: dream¦\n---\n",
		"see [[The ba¦",
		"see https://example.org/ba¦",
		"under #dre¦",
		"![[baths.png]]¦",
	])("and not: %s", (marked) => expect(welcome(marked)).toBe(false));

	if (parser === "Lezer's") test.each([
		"The baths¦\n===",
		"| when | what |\n| --- | --- |\n| then | that¦",
		"<!-- a remark¦\n-->",
		"<details>\nThe pool¦\n</details>",
	])("nor: %s", (marked) => expect(welcome(marked)).toBe(false));

	// What Lezer's does not know the daemon refuses: tests/server/test_open_notes.py.
	if (parser !== "Lezer's") test.each([
		"---\ntags: dream¦",
		"$$\nx = y¦\n$$",
		"%%\na remark¦\n%%",
	])("nor: %s", (marked) => expect(welcome(marked)).toBe(false));
});

test("after five dismissals in a row it waits longer, after ten it rests for a minute; one word taken ends that", () => {
	const patience = new Patience();
	const usual = patience.pauseMs(0) ?? 0;
	for (let n = 0; n < 4; n++) patience.dismissed(0);
	expect(patience.pauseMs(0)).toBe(usual);
	patience.dismissed(0);
	const slow = patience.pauseMs(0) ?? 0;
	expect(slow).toBeGreaterThan(3 * usual);
	patience.taken();
	expect(patience.pauseMs(0)).toBe(usual);
	for (let n = 0; n < 10; n++) patience.dismissed(1_000);
	expect(patience.pauseMs(1_000)).toBeNull();
	expect(patience.pauseMs(60_999)).toBeNull();
	expect(patience.pauseMs(61_000)).toBe(slow);
});

/** An editor whose pauses are counted; each is 100 ms. */
function paused(marked: string) {
	const heard = { paused: 0, calledOff: 0 };
	const host = { pauseMs: () => 100, paused: () => void heard.paused++, calledOff: () => void heard.calledOff++ };
	const b = bench(marked, pauses(host));
	b.view.focus();
	return { ...b, heard };
}

test("a pause is heard once, after the last key", () => {
	const { view, heard } = paused("I ");
	typeInto(view, "was");
	vi.advanceTimersByTime(99);
	typeInto(view, " ");
	vi.advanceTimersByTime(99);
	expect(heard.paused).toBe(0);
	vi.advanceTimersByTime(1);
	expect(heard.paused).toBe(1);
	vi.advanceTimersByTime(10_000);
	expect(heard.paused).toBe(1);
});

test("a key calls off what the pause began, before anything else is done", () => {
	const { view, heard } = paused("I ");
	typeInto(view, "w");
	vi.advanceTimersByTime(100);
	const before = heard.calledOff;
	typeInto(view, "a");
	expect(heard.calledOff).toBe(before + 1);
});

test("nothing follows a deletion, a paste, an undo, a moved cursor or a lost focus", () => {
	const { view, heard } = paused("I was ");
	const after = (change: () => unknown) => {
		typeInto(view, "a");
		change();
		vi.advanceTimersByTime(1_000);
	};
	const end = () => view.state.doc.length;
	after(() => view.dispatch({ changes: { from: end() - 1, to: end() }, userEvent: "delete.backward" }));
	after(() => view.dispatch({ changes: { from: end(), insert: "pasted" }, userEvent: "input.paste" }));
	after(() => undo(view));
	after(() => view.dispatch({ selection: { anchor: 0 } }));
	after(() => view.contentDOM.blur());
	expect(heard.paused).toBe(0);
});

test("a closed editor is not heard of any more", () => {
	const { view, heard } = paused("I ");
	typeInto(view, "a");
	view.destroy();
	vi.advanceTimersByTime(1_000);
	expect(heard.paused).toBe(0);
});

test("words that nobody asked for are judged: taken, typed, dismissed; not when another takes their place", async () => {
	const s = setup("I ");
	const judged: boolean[] = [];
	s.session.onJudged((taken) => judged.push(taken));
	const suggest = () => s.session.suggest(s.view, "was in");
	suggest();
	expect(s.shown()).toBe("was in");
	accept(s.view, "word");
	dismiss(s.view);
	expect(judged).toEqual([true]);
	suggest();
	dismiss(s.view);
	suggest();
	s.type("w");
	s.type("x");
	expect(judged).toEqual([true, false, false]);
	suggest();
	s.type("was in");
	expect(judged.at(-1)).toBe(true);
	suggest();
	const over = s.start();
	s.source.give("asked for");
	s.source.give(null);
	await over;
	expect(judged).toHaveLength(4);
	expect(s.shown()).toBe("asked for");
});

test("they are reported when taken, are no branch, and not what is shown again", async () => {
	const s = setup("I ");
	const over = s.start();
	s.source.give("asked for");
	s.source.give(null);
	await over;
	dismiss(s.view);
	s.session.suggest(s.view, "was in");
	dismiss(s.view);
	expect(s.session.branches.of(s.file).map(({ text }) => text)).toEqual(["asked for"]);
	expect(s.session.restore(s.view)).toBe(true);
	expect(s.shown()).toBe("asked for");
	dismiss(s.view);
	s.session.suggest(s.view, "was in");
	accept(s.view, "all");
	expect(s.source.kept).toEqual([["was in", "n.md"]]);
	expect(s.session.branches.of(s.file)).toHaveLength(1);
});
