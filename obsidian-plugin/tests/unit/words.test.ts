import { describe, expect, test } from "vitest";
import type { Generation, Status } from "../../src/daemon/api.ts";
import { DEFAULTS, readSettings } from "../../src/settings.ts";
import { morph } from "../../src/ui/morph.ts";
import { drawChart, points } from "../../src/ui/chart.ts";
import { learned, monthSentences, noteSentence, reportSentences, statusLine, statusStory, verdict, voiceLabel, voiceOf, wordsSentence } from "../../src/words.ts";

const STATUS: Status = { active: "g000012", pending: 3, training: null, next: "tonight", paused: null, lastVerdict: "Good.", problems: [], writes: "g000002", version: "0.1.0" };
const DAEMON = { online: true, problem: null, status: STATUS, progress: null, census: null, generations: [] as Generation[] };

const ROW: Generation = { id: "g000002", created: 43_200, active: true, barred: false, promoted: true, why: "It is so.", heldOut: 1.8 };

describe("the status bar", () => {
	test("tells the generation, what waits, and what is being learned", () => {
		expect(statusLine({ ...DAEMON, generations: [ROW] })).toMatch(/^learned on .*1970 at .+ · 3 notes waiting$/);
		expect(statusLine({ ...DAEMON, status: { ...STATUS, pending: 1 } })).toBe("nothing learned yet · 1 note waiting");
		expect(statusLine({ ...DAEMON, status: { ...STATUS, active: null, pending: 0 } })).toBe("nothing learned yet");
		const german = "This looks like German.";
		expect(statusStory({ ...DAEMON, status: { ...STATUS, problems: [german] } }, `as #dream\n${german}`)).toBe(`This note: as #dream\n${german}\nLearns next: tonight\nGood.`);
		const base = { ...DAEMON, status: { ...STATUS, active: null, writes: null, pending: 0 }, generations: [{ ...ROW, active: false }] };
		expect(statusLine(base)).toBe("the base writes, not your voice");
		expect(statusStory(base, "")).toContain("To go back to your voice");
		expect(statusLine({ ...DAEMON, progress: { phase: "train", fraction: 0.404 } })).toBe("learning… 40 %");
		const at = new Date();
		at.setHours(27, 0, 0, 0);
		const paused = { fraction: 0.341, at: new Date(at.getTime() - (Date.now() < at.getTime() - 86_400_000 ? 86_400_000 : 0)) };
		expect(statusLine({ ...DAEMON, status: { ...STATUS, paused } })).toBe("paused at 34 %, goes on tonight");
		expect(statusLine({ ...DAEMON, status: { ...STATUS, paused: { ...paused, at: null } } })).toBe("paused at 34 %");
		expect(statusLine({ ...DAEMON, online: false })).toBe("mirror off");
		expect(statusStory(DAEMON, "as #dream")).toBe("This note: as #dream\nLearns next: tonight\nGood.");
		expect(statusStory({ ...DAEMON, online: false, problem: "Start it." }, "")).toBe("Start it.");
	});
});

test("verdicts, reports and notes are told in words", () => {
	expect(verdict(ROW)).toBe("Better: It is so.");
	expect(verdict({ ...ROW, barred: true })).toContain("forgotten");
	expect(reportSentences({ sentences: ["g000002, on pages held out:", "  #a: 5 % less.", "Less surprised by you."], report: {} })).toEqual(["Less surprised by you.", "#a: 5 % less."]);
	expect(reportSentences({ sentences: [], verdict: { why: "Better." } })).toEqual(["Better."]);
	expect(reportSentences(null)).toEqual(["Nothing has been learned yet."]);
	expect(noteSentence({ used: false, why: "it is a template", keptAside: null, problem: null })).toBe("This note is not used: it is a template.");
	expect(noteSentence({ used: true, why: "", keptAside: "part", problem: null })).toBe("This note is learned from. A part of it is kept aside to measure with, and never learned.");
});

test("whose words a note has is said in shares", () => {
	expect(wordsSentence({ words: 200, mirror: 30, edited: 1 })).toBe("15 % of its words are the mirror's, and 1 % were edited since you took them.");
	expect(wordsSentence({ words: 200, mirror: 30, edited: 0 })).toBe("15 % of its words are the mirror's.");
	expect(wordsSentence({ words: 200, mirror: 0, edited: 0 })).toBe("");
});

test("a voice is named by when it was learned, as a person says it", () => {
	const now = new Date(2026, 10, 29, 9, 30);
	const at = (...parts: [number, number, number, number]) => learned({ created: new Date(2026, ...parts).getTime() / 1000 }, now);
	expect(at(10, 29, 3, 10)).toBe("learned last night");
	expect(at(10, 28, 22, 0)).toBe("learned last night");
	expect(at(10, 29, 8, 5)).toMatch(/^learned today at /);
	expect(at(10, 28, 9, 0)).toMatch(/^learned yesterday at /);
	expect(at(2, 3, 9, 0)).toMatch(/^learned on .*March.* at /);
	expect(learned({ created: new Date(2019, 2, 3).getTime() / 1000 }, now)).toContain("2019");
	const voice = (...parts: [number, number, number, number]) => voiceOf({ created: new Date(2026, ...parts).getTime() / 1000 }, now);
	expect([voice(10, 29, 3, 10), voice(10, 29, 8, 5), voice(10, 28, 9, 0)]).toEqual(["voice of last night", "voice of today", "voice of yesterday"]);
	expect(voice(2, 3, 9, 0)).toMatch(/^voice of (?:March 3|3 March)$/);
});

test("whose voice it is stands in few words, and no generation's number among them", () => {
	const active = { ...ROW, created: Date.now() / 1000 };
	expect(voiceLabel({ tags: ["dream"], date: "2019" }, active)).toMatch(/^as #dream · 2019 · voice of (?:today|last night)$/);
	expect(voiceLabel({ tags: [], date: "2021-06" }, active)).toMatch(/^as June 2021 · voice of /);
	expect(voiceLabel({ tags: ["a", "b", "c", "d"], date: null }, null)).toBe("as #a #b #c +1 · nothing learned yet");
	expect(voiceLabel({ tags: [], date: null }, "base")).toBe("as the base, not your voice");
});

test("the shares of the months, the newest first; a month of the author's own words says nothing", () => {
	const months = { "": { words: 50, mirror: 5, edited: 0 }, "2026-10": { words: 200, mirror: 30, edited: 4 }, "2026-11": { words: 100, mirror: 7, edited: 0 }, "2026-09": { words: 90, mirror: 0, edited: 0 } };
	expect(monthSentences(months)).toEqual([
		"November 2026: 7 % of its words are the mirror's.",
		"October 2026: 15 % of its words are the mirror's, and 2 % were edited since you took them.",
		"Without a date: 10 % of its words are the mirror's.",
	]);
	expect(monthSentences(months, 1)).toHaveLength(1);
});

test("the chart goes from the oldest to the newest, and lower is lower", () => {
	const all = points([ROW, { ...ROW, id: "g000001", heldOut: 1.9 }, { ...ROW, heldOut: null }]);
	expect(all.map(({ generation }) => generation.id)).toEqual(["g000001", "g000002"]);
	const [first, last] = all;
	expect(first && last && first.x < last.x && first.y < last.y).toBe(true);
});

test("the chart is drawn with a dot a generation, and not at all for one", () => {
	const box = document.createElement("div");
	Object.assign(box, { createEl: (tag: string, { text }: { text: string }) => box.appendChild(Object.assign(document.createElement(tag), { textContent: text })) });
	drawChart(box, [ROW]);
	expect(box.childElementCount).toBe(0);
	drawChart(box, [ROW, { ...ROW, id: "g000001", heldOut: 1.9, active: false }]);
	expect(box.querySelectorAll("circle")).toHaveLength(2);
	expect(box.querySelector("p")?.textContent).toContain("lower is better");
	expect(box.querySelector("circle.is-active title")?.textContent).toMatch(/^The voice learned on .*1970 at .+: 1.800 bits per byte$/);
});

test("a tree is made like another and keeps what is the same: focus, selection, what is unfolded", () => {
	const tree = (html: string) => document.createRange().createContextualFragment(`<div>${html}</div>`).firstElementChild ?? document.body;
	const old = tree('<p>One</p><button data-key="a">A</button><details><summary>More</summary><p>x</p></details><section data-key="s">s</section>');
	document.body.append(old);
	old.querySelector("button")?.focus();
	old.querySelector("details")?.setAttribute("open", "");
	const [button, word] = [old.querySelector("button"), old.querySelector("p")?.firstChild];
	morph(old, tree('<h4>New</h4><section data-key="s">s2</section><p>One</p><button data-key="b">B</button><button data-key="a" class="on">A</button><details><summary>More</summary><p>y</p><p>z</p></details>'));
	expect(old.outerHTML).toBe('<div><h4>New</h4><section data-key="s">s2</section><p>One</p><button data-key="b">B</button><button data-key="a" class="on">A</button><details open=""><summary>More</summary><p>y</p><p>z</p></details></div>');
	expect(document.activeElement).toBe(button);
	expect(old.querySelector("p")?.firstChild).toBe(word);
	morph(old, tree("plain"));
	expect(old.innerHTML).toBe("plain");
	morph(old, tree("<p>again</p>"));
	expect(old.innerHTML).toBe("<p>again</p>");
});

test("settings of the wrong kind are their defaults", () => {
	expect(readSettings(null)).toEqual(DEFAULTS);
	expect(readSettings({ length: "novel", alternatives: 9, showVoice: "yes" })).toEqual(DEFAULTS);
	expect(readSettings({ length: "page", alternatives: 1, showVoice: false })).toEqual({ ...DEFAULTS, length: "page", alternatives: 1, showVoice: false });
});
