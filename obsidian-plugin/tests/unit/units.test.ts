import { describe, expect, test } from "vitest";
import { unitLength, type Unit } from "../../src/editor/units.ts";

function cut(text: string, unit: Unit): string[] {
	const parts: string[] = [];
	for (let left = text; left; left = left.slice(parts.at(-1)?.length ?? 1)) {
		parts.push(left.slice(0, Math.max(1, unitLength(left, unit))));
	}
	return parts;
}

describe("a word", () => {
	test.each([
		["and the sea.", ["and", " the", " sea."]],
		["  so-called", ["  so-called"]],
		["“No,” she said", ["“No,”", " she", " said"]],
		["don’t it's", ["don’t", " it's"]],
		["\n\n- [ ] milk", ["\n\n-", " [", " ]", " milk"]],
		["日本語です", expect.any(Array)],
	])("%j", (text, parts) => {
		expect(cut(text, "word")).toEqual(parts);
		expect(cut(text, "word").join("")).toBe(text);
	});
});

describe("a sentence", () => {
	test.each([
		["One two. Three!", ["One two.", " Three!"]],
		["Mr. Lusk came. He left.", ["Mr. Lusk came.", " He left."]],
		["e.g. this one. Next", ["e.g. this one.", " Next"]],
		["first line\nsecond line", ["first line", "\nsecond line"]],
		["“Go.” He went.", ["“Go.”", " He went."]],
	])("%j", (text, parts) => {
		expect(cut(text, "sentence")).toEqual(parts);
	});
});

test("a paragraph ends before an empty line, and all is all", () => {
	expect(cut("One.\nTwo.\n\nThree.", "paragraph")).toEqual(["One.\nTwo.", "\n\nThree."]);
	expect(cut("One.\n\nTwo.", "all")).toEqual(["One.\n\nTwo."]);
});

test.each<Unit>(["word", "sentence", "paragraph", "all"])("a %s is never nothing", (unit) => {
	for (const text of ["a", " a", "\n\na", "…", "👩‍👩‍👧 hi", "**", " "]) {
		const length = unitLength(text, unit);
		expect(length).toBeGreaterThan(0);
		expect(length).toBeLessThanOrEqual(text.length);
	}
});
