import { describe, expect, test } from "vitest";
import type { Generation, Status } from "../../src/daemon/api.ts";
import { DEFAULTS, readSettings } from "../../src/settings.ts";
import { drawChart, points } from "../../src/ui/chart.ts";
import { noteSentence, reportSentences, statusLine, statusStory, verdict } from "../../src/words.ts";

const STATUS: Status = { active: "g000012", pending: 3, training: null, next: "tonight", lastVerdict: "Good.", problems: [] };
const DAEMON = { online: true, problem: null, status: STATUS, progress: null, census: null };

describe("the status bar", () => {
	test("tells the generation, what waits, and what is being learned", () => {
		expect(statusLine(DAEMON)).toBe("g000012 · 3 notes waiting");
		expect(statusLine({ ...DAEMON, status: { ...STATUS, pending: 1 } })).toBe("g000012 · 1 note waiting");
		expect(statusLine({ ...DAEMON, status: { ...STATUS, active: null, pending: 0 } })).toBe("no generation yet");
		expect(statusLine({ ...DAEMON, progress: { phase: "train", fraction: 0.404 } })).toBe("learning… 40 %");
		expect(statusLine({ ...DAEMON, online: false })).toBe("mirror off");
		expect(statusStory(DAEMON, "as #dream")).toBe("This note: as #dream\nNext training: tonight\nGood.");
		expect(statusStory({ ...DAEMON, online: false, problem: "Start it." }, "")).toBe("Start it.");
	});
});

const ROW: Generation = { id: "g000002", created: 2, active: true, barred: false, promoted: true, why: "Better.", heldOut: 1.8 };

test("verdicts, reports and notes are told in words", () => {
	expect(verdict(ROW)).toBe("Promoted: Better.");
	expect(verdict({ ...ROW, barred: true })).toContain("forgotten");
	expect(reportSentences({ sentences: ["As told.", "And this."], report: {} })).toEqual(["As told.", "And this."]);
	expect(reportSentences({ sentences: [], verdict: { why: "Better." } })).toEqual(["Better."]);
	expect(reportSentences(null)).toEqual(["Nothing has been learned yet."]);
	expect(reportSentences({ report: { bits_per_byte: { held_out: 1.8, held_out_base: 2 } }, verdict: { why: "Better." } })).toEqual([
		"10.0 % less surprised by your pages than its base (2.000 → 1.800 bits per byte).",
	]);
	expect(noteSentence({ used: false, why: "it is a template", heldOut: null, pathDate: null, problem: null })).toBe("This note is not used: it is a template.");
});

test("the chart goes from the oldest to the newest, and lower is lower", () => {
	const all = points([ROW, { ...ROW, id: "g000001", heldOut: 1.9 }, { ...ROW, heldOut: null }]);
	expect(all.map(({ generation }) => generation.id)).toEqual(["g000001", "g000002"]);
	const [first, last] = all;
	expect(first && last && first.x < last.x && first.y < last.y).toBe(true);
});

test("the chart is drawn with a dot a generation, and not at all for one", () => {
	const box = document.createElement("div");
	drawChart(box, [ROW]);
	expect(box.childElementCount).toBe(0);
	drawChart(box, [ROW, { ...ROW, id: "g000001", heldOut: 1.9, active: false }]);
	expect(box.querySelectorAll("circle")).toHaveLength(2);
	expect(box.querySelector("circle.is-active title")?.textContent).toBe("g000002: 1.800 bits per byte");
});

test("settings of the wrong kind are their defaults", () => {
	expect(readSettings(null)).toEqual(DEFAULTS);
	expect(readSettings({ length: "novel", alternatives: 9, showVoice: "yes" })).toEqual(DEFAULTS);
	expect(readSettings({ length: "page", alternatives: 1, showVoice: false })).toEqual({ ...DEFAULTS, length: "page", alternatives: 1, showVoice: false });
});
