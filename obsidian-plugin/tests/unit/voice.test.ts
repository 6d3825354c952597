import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { PathDates } from "../../src/daemon/pathDates.ts";
import { dateValue, headingDate } from "../../src/note/dates.ts";
import { voiceLabel } from "../../src/note/label.ts";
import { completion, vaultTag, voiced } from "../../src/note/request.ts";
import { titleOfName } from "../../src/note/titles.ts";
import { readNote } from "../../src/note/voice.ts";

/** `|` marks the cursor; without one it is at the end. */
function read(marked: string, path = "Notes/Some thoughts.md", ...dates: [(string | null)?]) {
	const at = marked.includes("|") ? marked.indexOf("|") : marked.length;
	return readNote(marked.replace("|", ""), at, path, (text) => parse(text) as unknown, dates.length > 0 ? dates[0] : null);
}

describe("tags", () => {
	test("come from front matter and text, just typed or not", () => {
		expect(read("---\ntags: [Dream, a/b]\ntag: '#x, y'\n---\nI #flew over #1 `#code`\n#sea").tags).toEqual(["dream", "a/b", "x", "y", "flew", "sea"]);
		expect(read("tags #z").tags).toEqual(["z"]);
	});

	test("are not read from code blocks, links and headings", () => {
		expect(read("```\n#no\n```\n# Heading\n[a](b#c) word#no #yes").tags).toEqual(["yes"]);
	});
});

describe("front matter", () => {
	test("is not sent, and a rule at the top is not front matter", () => {
		expect(read("---\ntags: a\n---\nBody").prompt).toBe("Body");
		expect(read("---\n\nA diary that opens with a rule.\n\n---\n\nMore").prompt).toContain("A diary");
		expect(read("---\nhalf: [open\n---\nBody").prompt).toContain("half");
	});

	test("never makes it fail", () => {
		for (const text of ["---", "---\n", "---\n---", "---\n{\n---\nx", "---\ntags: {a: 1}\nvaultgpt: [1]\ndate: 2021-13-45\n---\n", `---\n${"[".repeat(5000)}\n---\n`])
			expect(() => read(text)).not.toThrow();
	});

	test("overrides the note's voice, or turns writing off", () => {
		const own = read("---\ntags: [a]\ndate: 2020-05-01\nvaultgpt: {tags: [dream], date: 2014, length: page, temperature: 0.5}\n---\nx");
		expect(own).toMatchObject({ tags: ["dream"], date: "2014", length: "page", temperature: 0.5, off: false });
		expect(read("---\nvaultgpt: false\n---\nx").off).toBe(true);
		expect(read("---\nvaultgpt: {length: novel, temperature: 99}\n---\nx")).toMatchObject({ length: null, temperature: null });
	});

	test("while the cursor is in it sends no prose of it, and says so", () => {
		expect(read("---\ntags: a|\n---\nBody")).toMatchObject({ prompt: "", suffix: "Body", inProperties: true });
		expect(read("---\ntags: a\n---|").inProperties).toBe(true);
		expect(read("---\ntags: a\n---\n|Body").inProperties).toBe(false);
		expect(read("|Body").inProperties).toBe(false);
		expect(read("---").inProperties).toBe(false);
	});
});

describe("the date", () => {
	test.each([
		["---\ndate: 2019-03-14\n---\n", null, "2019-03"],
		["---\ndate: 2014\n---\n", "2021-03", "2014"],
		["", "2021-03", "2021-03"],
		["---\ncreated: 2018-01-02T10:00\n---\n", null, "2018-01"],
		["---\ncreated: 2018-01-02T10:00\n---\n", "2021-03", "2021-03"],
		["# 14 March 2021\n\nx", null, "2021-03"],
		["# 14 March 2021\n\nx", "2020", "2020"],
		["## 2022-07-01\n\nx\n\n## 2022-08-02\n\ny", "2020", "2022-08"],
		["", null, null],
	])("%j under a path that means %s is %s", (text, pathDate, date) => {
		expect(read(text, "x.md", pathDate).date).toBe(date);
	});

	test("is the path's as the daemon told it, and is left to the daemon until it has", async () => {
		const asked: string[] = [];
		let there = false;
		const dates = new PathDates(async (path) => {
			asked.push(path);
			if (!there) throw new Error("no daemon");
			return path === "Log/14.03.2019.md" ? "2019-03" : null;
		});
		await dates.learn("Log/14.03.2019.md");
		expect(dates.of("Log/14.03.2019.md")).toBeUndefined();
		there = true;
		await dates.learn("Log/14.03.2019.md");
		await Promise.all([dates.learn("1984 again.md"), dates.learn("1984 again.md")]);
		await dates.learn("1984 again.md");
		expect(asked).toEqual(["Log/14.03.2019.md", "Log/14.03.2019.md", "1984 again.md"]);
		expect([dates.of("Log/14.03.2019.md"), dates.of("1984 again.md")]).toEqual(["2019-03", null]);
		dates.forget();
		expect(dates.of("1984 again.md")).toBeUndefined();
	});

	test.each(["", "---\ncreated: 2018\n---\n", "# March 2021\n\n"])("that only the daemon can tell is left out of the request: %j", (text) => {
		const reading = read(text, "x.md", undefined);
		expect(reading.date).toBeUndefined();
		const preferences = { length: "sentence", alternatives: 1 } as const;
		expect(completion(reading, {}, preferences, "x.md", 1).vaultgpt).not.toHaveProperty("date");
		expect(completion(reading, { date: null }, preferences, "x.md", 1).vaultgpt.date).toBeNull();
		expect(voiceLabel(reading, "g000001")).toBe("as g000001");
	});
});

describe("what the daemon's own tests hold too", () => {
	const file = join(import.meta.dirname, "..", "..", "..", "tests", "plugin", "dates.json");
	const table = JSON.parse(readFileSync(file, "utf8")) as {
		values: Record<string, string | null>;
		headings: Record<string, [string | null, string] | null>;
		names: Record<string, string | null>;
	};

	test.each(Object.entries(table.values))("the property %j is %j", (written, date) => {
		expect(dateValue(written)).toBe(date);
	});

	test.each(Object.entries(table.headings))("the heading %j is %j", (written, expected) => {
		const found = headingDate(written);
		expect(found && [found.date, found.rest]).toEqual(expected);
	});

	test.each(Object.entries(table.names))("the name %j is %j", (path, title) => {
		expect(titleOfName(path, [])).toBe(title);
	});
});

describe("the title", () => {
	test("is the first heading or the name, and is not sent as prose", () => {
		expect(read("# My father's house\n\nIt stood")).toMatchObject({ title: "My father's house", prompt: "It stood" });
		expect(read("#a #b\n# A *house*\n\nIt stood").prompt).toBe("It stood");
		expect(read("It stood")).toMatchObject({ title: "Some thoughts", prompt: "It stood" });
		expect(read("Prose.\n\n# Later\n\nMore")).toMatchObject({ title: "Some thoughts", prompt: "Prose.\n\n# Later\n\nMore" });
	});

	test("is no date and not Untitled", () => {
		expect(read("x", "2021-03-14.md").title).toBeNull();
		expect(read("# 14 March 2021\n\nx", "Untitled 3.md").title).toBeNull();
		expect(read("---\ntitle: 2021-03-14\n---\nx", "2021-06-19 Lanes.md").title).toBe("Lanes");
		expect(read("# The _old_ [baths](Baths.md) of [[Town]]\n\nx").title).toBe("The old baths of Town");
	});

	test("of a daily note is none of its parts", () => {
		const parts = "# Morning\n\nRain.\n\n# Evening\n\nMore";
		expect(read(parts, "2021-03-14.md", "2021-03")).toMatchObject({ title: null, prompt: parts });
		expect(read(parts, "Weather.md").title).toBe("Morning");
	});
});

describe("the prompt", () => {
	test("ends exactly at the cursor and the suffix begins there", () => {
		expect(read("One two |three")).toMatchObject({ prompt: "One two ", suffix: "three" });
	});

	test("of a file of many days is the day that is being written", () => {
		const days = "---\ntags: log\n---\n## 2022-07-01\n\nFirst #sun\n\n## 2022-08-02 Rain\n\nSecond| #rain\n\n## 2022-08-03\n\nThird #late";
		expect(read(days)).toMatchObject({ prompt: "Second", date: "2022-08", tags: ["log", "rain"], title: "Rain" });
	});

	test("has no comments and no lines of tags", () => {
		expect(read("#a #b\nOne %%hidden%%two\ntags: #c\nThree").prompt).toBe("One two\nThree");
	});

	test("of a long note is cut at a paragraph, and the cut rests while one types on", () => {
		const long = Array.from({ length: 400 }, (_, n) => `Paragraph ${n} has some words in it, and then some more.`).join("\n\n");
		const now = read(long).prompt;
		expect(now.length).toBeLessThanOrEqual(12_000);
		expect(now.length).toBeGreaterThan(6_000);
		expect(now.startsWith("Paragraph")).toBe(true);
		expect(long.endsWith(now)).toBe(true);
		expect(read(`${long} And on.`).prompt).toBe(`${now} And on.`);
	});
});

describe("the request", () => {
	const preferences = { length: "paragraph", alternatives: 2 } as const;

	test("carries the note's voice, and an ask replaces it", () => {
		const reading = read("---\ntags: [dream]\ndate: 2019\n---\nI was");
		const body = completion(reading, {}, preferences, "Notes/A.md", 7);
		expect(body).toEqual({
			prompt: "I was", suffix: "", n: 2, seed: 7, stream: true,
			vaultgpt: { tags: ["dream"], date: "2019", title: "Some thoughts", path: "Notes/A.md", length: "paragraph" },
		});
		expect(completion(reading, { tags: ["poetry"], date: null }, preferences, "A.canvas", 7).vaultgpt).toEqual({ tags: ["poetry"], date: null, title: "Some thoughts", length: "paragraph" });
		expect(completion(reading, { form: "question" }, preferences, null, 7).vaultgpt).toMatchObject({ form: "question", length: "sentence" });
	});

	test("is shown before it is sent", () => {
		const reading = read("---\ntags: [dream]\ndate: 2019\n---\nI was");
		expect(voiceLabel(reading, "g000012")).toBe("as #dream · 2019 · g000012");
		expect(voiceLabel(voiced(reading, { tags: ["a", "b", "c", "d"], date: null }), null)).toBe("as #a #b #c +1 · base");
	});

	test("for a poem uses the vault's own tag", () => {
		expect(vaultTag("poem", { poem: 3, poetry: 2 })).toBe("poem");
		expect(vaultTag("dream", {})).toBe("dream");
	});
});
