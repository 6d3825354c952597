import { describe, expect, test } from "vitest";
import { openNote } from "../../src/note/openNote.ts";
import { completion, vaultTag } from "../../src/note/request.ts";
import { parsed, PARSERS } from "./parsed.ts";

describe("the note that is sent", () => {
	test("is the editor's text and the cursor; a canvas and other files are no notes", () => {
		expect(openNote(parsed("One two"), 3, "Notes/A.md")).toEqual({ path: "Notes/A.md", text: "One two", cursor: 3 });
		expect(openNote(parsed("One"), 3, "A.canvas")).toEqual({ path: null, text: "One", cursor: 3 });
		expect(openNote(parsed(""), 0, null)).toEqual({ path: null, text: "", cursor: 0 });
	});

	const front = `---\ntags: [log]\nlinks:\n${"- a link to somewhere\n".repeat(500)}---\n`;
	const paragraphs = Array.from({ length: 18_000 }, (_, n) => `Paragraph ${n} has some words in it, and then some more.`);
	const long = front + paragraphs.join("\n\n");
	const state = parsed(long);

	test("of a megabyte is cut near the cursor, with its front matter and at a line", () => {
		expect(long.length).toBeGreaterThan(1_000_000);
		const at = long.indexOf("Paragraph 9000 ") + 9;
		const sent = openNote(state, at, "Log.md");
		expect(sent.text.length).toBeLessThan(70_000);
		expect(sent.text.startsWith(front)).toBe(true);
		const gap = sent.gap ?? 0;
		expect(sent.text.slice(0, gap)).toBe(long.slice(0, gap));
		const before = sent.text.slice(gap, sent.cursor);
		expect(before.length).toBeGreaterThan(20_000);
		expect(before).toMatch(/^(?:\n|Paragraph)/);
		expect(long.slice(0, at).endsWith(before)).toBe(true);
		expect(long.slice(at).startsWith(sent.text.slice(sent.cursor))).toBe(true);
	});

	test("near the top or the end of a long note has no more than there is", () => {
		const top = openNote(state, front.length + 40, "Log.md");
		expect([top.gap, top.cursor]).toEqual([undefined, front.length + 40]);
		expect(long.startsWith(top.text)).toBe(true);
		const end = openNote(state, long.length, "Log.md");
		expect(end.cursor).toBe(end.text.length);
	});

	test("is cut at the same place while one types on", () => {
		const at = long.indexOf("Paragraph 9000 ");
		const starts = new Set<string>();
		for (let typed = 0; typed < 4_000; typed += 100) {
			const grown = state.update({ changes: { from: at, insert: "x".repeat(typed) } }).state;
			const { text, gap = 0 } = openNote(grown, at + typed, "Log.md");
			starts.add(text.slice(gap, gap + 60));
		}
		expect(starts.size).toBeLessThanOrEqual(2);
	});

	test("is never cut inside a surrogate pair", () => {
		const faces = "😀".repeat(60_000);
		for (let at = 59_990; at < 60_010; at += 2) {
			const { text, cursor, gap = 0 } = openNote(parsed(faces), at, "Faces.md");
			expect(text).not.toMatch(/(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]|[\uD800-\uDBFF](?![\uDC00-\uDFFF])/);
			expect(faces.slice(0, at).endsWith(text.slice(gap, cursor))).toBe(true);
		}
	});

	describe.each(PARSERS)("by the tree of %s", (parser) => {
		const above = "Prose.\n\n".repeat(8_000);
		const begins = (opening: string, line: string, closing: string) => {
			const code = `${above}${opening}\n${line.repeat(7_000)}${closing}\n\nAnd on.`;
			const { text, gap = 0, cursor } = openNote(parsed(code, parser), code.length, "Code.md");
			expect([code.endsWith(text.slice(gap)), cursor]).toEqual([true, text.length]);
			return text.slice(gap).split("\n", 1)[0];
		};

		test("it is not cut inside a block of code", () => {
			expect(begins("```py", "print(1)\n", "```")).toBe("```py");
			expect(begins("````md", "print(1)\n\n```\n\n", "````")).toBe("````md");
			expect(begins("~~~", "```js\n\n", "~~~")).toBe("~~~");
		});

		if (parser !== "Lezer's") test("nor inside a comment or a formula", () => {
			expect(begins("%%", "a remark\n\n", "%%")).toBe("%%");
			expect(begins("$$", "x = y\n", "$$")).toBe("$$");
		});
	});

	test("takes no time that is felt", () => {
		const times = Array.from({ length: 7 }, () => {
			const start = performance.now();
			openNote(state, long.length, "Log.md");
			return performance.now() - start;
		});
		expect(Math.min(...times)).toBeLessThan(20);
	});
});

describe("the request", () => {
	const preferences = { length: "paragraph", alternatives: 2 } as const;
	const note = { path: "A.md", text: "I was", cursor: 5 };

	test("carries the note and the wished length; an ask replaces what the note says", () => {
		expect(completion(note, {}, preferences, 7)).toEqual({ n: 2, seed: 7, stream: true, vaultgpt: { note: { ...note, length: "paragraph" } } });
		expect(completion(note, { tags: ["poetry"], date: null }, preferences, 7).vaultgpt).toMatchObject({ tags: ["poetry"], date: null });
		const question = completion(note, { form: "question" }, preferences, 7).vaultgpt;
		expect([question.form, question.note.length]).toEqual(["question", "sentence"]);
	});

	test("for a poem uses the vault's own tag", () => {
		expect(vaultTag("poem", { poem: 3, poetry: 2 })).toBe("poem");
		expect(vaultTag("dream", {})).toBe("dream");
	});
});
