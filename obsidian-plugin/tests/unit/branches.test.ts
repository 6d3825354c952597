import { expect, test } from "vitest";
import { Branches, depthOf, firstWords, placeOf, wordsIn } from "../../src/note/branches.ts";

test("what follows what was taken is its child; each stands before its children", () => {
	const tree = new Branches();
	const note = {};
	let told = 0;
	tree.onChange(() => told++);
	tree.keep(note, 1, "I woke ", ["and swam", "and ran", " "]);
	tree.take(note, "1.1", "and ran");
	tree.keep(note, 2, "I woke and ran", [" home", " away"]);
	tree.keep(note, 3, "Another place ", ["x y"]);
	const all = tree.of(note);
	expect(all.map((branch) => [branch.id, depthOf(branch), branch.taken])).toEqual([
		["1.0", 0, ""], ["1.1", 0, "and ran"], ["2.0", 1, ""], ["2.1", 1, ""], ["3.0", 0, ""],
	]);
	expect(told).toBe(4);
	expect(tree.of({})).toEqual([]);
});

test("a continuation that grows is one branch", () => {
	const tree = new Branches();
	const note = {};
	tree.keep(note, 1, "", ["and"]);
	tree.keep(note, 1, "", ["and the sea"]);
	expect(tree.of(note).map(({ text }) => text)).toEqual(["and the sea"]);
});

test("words are cut as they stand, and a branch finds its place again or says that it is gone", () => {
	expect([firstWords("and  the\n\nsea", 2), wordsIn(" a b\nc ")]).toEqual(["and  the", 3]);
	const tree = new Branches();
	const note = {};
	tree.keep(note, 1, "I woke ", ["early"]);
	const [branch] = tree.of(note);
	if (!branch) throw new Error("no branch");
	expect(placeOf(branch, "I woke ", 7)).toBe(7);
	expect(placeOf(branch, "So. I woke and more", 2)).toBe(11);
	expect(placeOf(branch, "I woke I woke ", 3)).toBeNull();
	expect(placeOf(branch, "Nothing", 0)).toBeNull();
});
