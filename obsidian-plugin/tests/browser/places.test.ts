// Where the cursor stands decides what a continuation may do there: told by the daemon, drawn and
// inserted by the installed main.js in a real editor. The real daemon, a trained generation.
import type { Page } from "playwright-core";
import { beforeEach, describe, expect, inject, test } from "vitest";
import type { Daemon } from "./daemon.ts";
import { own } from "./stage.ts";
import { arrive, open, propose, visiting } from "./visit.ts";

const stage = own(inject("stages"));
const browser = inject("browser");
const PATH = "Notes/The baths.md";

describe.runIf(browser)("at the cursor's place", () => {
	let page: Page;
	let daemon: Daemon;
	const visit = visiting(stage);

	beforeEach(async () => {
		({ page, daemon } = visit);
		await wishes("sentence", 1);
	});

	const doc = () => page.evaluate(() => window.bench.doc());
	const wishes = (length: string, alternatives: number) =>
		page.evaluate((change) => window.bench.wish(change), { length, alternatives });

	/** Continue at `¦`, take all, and give back what was inserted. */
	async function written(marked: string): Promise<string> {
		await open(page, PATH, marked);
		const text = await propose(page, daemon);
		await page.keyboard.press("Tab");
		await expect.poll(() => doc()).toBe(marked.replace("¦", text));
		await page.keyboard.press("Control+z");
		await expect.poll(() => doc()).toBe(marked.replace("¦", ""));
		return text;
	}

	/** The texts of a long continuation at `¦`, of which one at least has several lines. */
	async function lines(marked: string): Promise<string[]> {
		await wishes("page", 2);
		await open(page, PATH, marked);
		await page.keyboard.press("Control+;");
		await page.waitForFunction(() => Boolean(window.bench.ghost()), null, { timeout: 60_000 });
		await page.keyboard.press("Escape");
		const request = (await page.evaluate(() => window.bench.lastRequest())) as object;
		const texts = await daemon.texts({ ...request, max_tokens: 360 });
		const rest = texts.flatMap((text) => text.split("\n").slice(1));
		expect(rest.length).toBeGreaterThan(0);
		return rest;
	}

	test("after a heading line a new paragraph begins", async () => {
		expect(await written("# The baths¦")).toMatch(/^\n\n\S/);
		expect(await written("It was cold.\n\n## Later¦\n")).toMatch(/^\n\n\S/);
	});

	test("at a heading above its underline the paragraph begins below that, and the cursor goes there", async () => {
		for (const marked of ["The baths¦\n===", "It was cold.\n\nLater¦\n---\n\nMore.\n"]) {
			await open(page, PATH, marked);
			const text = await propose(page, daemon);
			expect(text).toMatch(/^\n\n\S/);
			const asked = (await page.evaluate(() => window.bench.lastRequest())) as { vaultgpt: { note: { cursor: number } } };
			expect(asked.vaultgpt.note.cursor).toBe(marked.indexOf("¦")); // where it goes, the daemon tells
			await page.keyboard.press("Tab");
			const heading = /^(?:===|---)$/m;
			await expect.poll(() => doc()).toBe(marked.replace("¦", "").replace(heading, (under) => under + text));
			await page.keyboard.press("Control+z");
			await expect.poll(() => doc()).toBe(marked.replace("¦", ""));
		}
	});

	test("after a full stop a word is set apart", async () => {
		const text = await written("It was cold.¦");
		expect(text).not.toMatch(/^[\p{L}\p{N}]/u);
	});

	test("in a callout and a quote every line begins with its mark", async () => {
		for (const row of await lines("> [!note] Baths\n> It was cold and¦")) expect(row).toMatch(/^>/);
	});

	test("in a list every line is an item or belongs to one", async () => {
		for (const row of await lines("- towels\n- the clock and¦")) expect(row).toMatch(/^(?:[-*+] |\d+[.)] |  |\s*$)/);
	});

	test("in a table's cell it is one line", async () => {
		expect(await written("| when | what |\n|---|---|\n| June | it was ¦ |\n")).not.toMatch(/[\n|]/);
	});

	test.each([
		["code", "```js\nlet x = ¦1;\n```\n", "The cursor is in code"],
		["front matter", "---\ntags: dream¦\n---\nIt was", "the note's properties"],
		["maths", "$$\nx = ¦1\n$$\n", "a formula"],
		["front matter that is still open", "---\ntags: dream\n¦", "the note's properties"],
	])("in %s nothing is written, and why is said", async (_where, marked, why) => {
		await open(page, PATH, marked);
		await page.keyboard.press("Control+;");
		await page.locator(".notice", { hasText: why }).waitFor();
		await expect.poll(() => page.locator(".vaultgpt-ghost").count()).toBe(0);
		await expect.poll(() => doc()).toBe(marked.replace("¦", ""));
	});

	test("a note of a megabyte is written on from near its cursor, in its own voice", async () => {
		await page.evaluate((path) => {
			const middle = "It was cold in the baths, and Gerald folded towels.\n\n".repeat(10_000);
			window.bench.open(path, `---\ntags: [dream]\ndate: 2021-06\n---\n${middle}Last night¦\n\n${middle}`);
		}, PATH);
		expect((await doc()).length).toBeGreaterThan(1_000_000);
		const text = await propose(page, daemon);
		expect(text).not.toBe("");
		const { note } = (await page.evaluate(() => window.bench.lastRequest()) as { vaultgpt: { note: { text: string } } }).vaultgpt;
		expect(note.text.length).toBeLessThan(60_000);
		await expect.poll(() => page.evaluate(() => window.bench.part("voice"))).toContain("as #dream · June 2021");
	});

	test("on the last visible line the ghost and its counter are scrolled into sight, at most to the upper third", async () => {
		for (const [length, alternatives] of [["sentence", 3], ["page", 2]] as const) {
			await wishes(length, alternatives);
			await open(page, PATH, "It was cold.\n\n".repeat(60));
			const pane = await page.locator("#pane").evaluate((element) => element.getBoundingClientRect().toJSON() as DOMRect);
			await page.evaluate(({ bottom }) => {
				const { editor } = window.bench;
				document.querySelector("#pane")?.scrollTo(0, 400);
				const at = editor?.posAtCoords({ x: 60, y: bottom - 14 }, false) ?? 0;
				editor?.dispatch({ selection: { anchor: editor.state.doc.lineAt(at).to } });
			}, pane);
			await propose(page, daemon);
			const { ghost, cursor } = await page.evaluate(() => {
				const found = window.bench.place();
				return { ghost: document.querySelector(".vaultgpt-ghost")?.getBoundingClientRect().toJSON() as DOMRect, cursor: found.cursor };
			});
			const third = pane.top + pane.height / 3;
			expect(cursor.top).toBeGreaterThanOrEqual(third - 2);
			if (cursor.top > third + 2) {
				expect(ghost.bottom).toBeLessThanOrEqual(pane.bottom);
				const counter = await page.locator(".vaultgpt-ghost-counter").evaluate((element) => element.getBoundingClientRect().bottom);
				expect(counter).toBeLessThanOrEqual(pane.bottom);
			}
			await page.keyboard.press("Escape");
		}
	});

	test("in an engine as old as Obsidian allows it works", async () => {
		page = await visit.anew(1, () => {
			const lists: string[] = ["with", "toSorted", "toReversed", "toSpliced"];
			for (const name of lists) Reflect.deleteProperty(Array.prototype, name);
			for (const name of ["union", "intersection", "difference"]) Reflect.deleteProperty(Set.prototype, name);
			for (const [owner, name] of [[AbortSignal, "any"], [URL, "canParse"], [URL, "parse"], [Object, "groupBy"], [Promise, "withResolvers"], [Array, "fromAsync"]] as const)
				Reflect.deleteProperty(owner, name);
		});
		await arrive(page, daemon);
		await wishes("sentence", 3);
		await open(page, PATH, "Last night I was");
		const text = await propose(page, daemon);
		await page.keyboard.press("Tab");
		await expect.poll(() => doc()).toBe(`Last night I was${text}`);
	});

	test("ghost and label have a contrast of 4.5 to 1 at least, in the light theme and in the dark", async () => {
		await open(page, PATH, "Last night I was");
		await propose(page, daemon);
		for (const theme of ["theme-light", "theme-dark"]) {
			const ratios = await page.evaluate((name) => {
				document.body.className = name;
				const luminance = (colour: string) => {
					const [r = 0, g = 0, b = 0] = (colour.match(/[\d.]+/g) ?? []).map((part) => {
						const value = Number(part) / 255;
						return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
					});
					return 0.2126 * r + 0.7152 * g + 0.0722 * b;
				};
				const paper = luminance(getComputedStyle(document.body).getPropertyValue("--background-primary").trim().replace(/^#(..)(..)(..)$/, (_, ...hex: string[]) => hex.slice(0, 3).map((part) => parseInt(part, 16)).join(" ")));
				return [".vaultgpt-ghost-text", ".vaultgpt-ghost-voice"].map((selector) => {
					const element = document.querySelector(selector);
					const { color, opacity } = getComputedStyle(element ?? document.body);
					const [light, dark] = [luminance(color), paper].sort((a, b) => b - a);
					return { ratio: ((light ?? 0) + 0.05) / ((dark ?? 0) + 0.05), opacity };
				});
			}, theme);
			for (const { ratio, opacity } of ratios) {
				expect(ratio).toBeGreaterThanOrEqual(4.5);
				expect(opacity).toBe("1");
			}
		}
	});

	test("the label stands after the author's words, not between them and the ghost, and wraps in a narrow pane", async () => {
		await open(page, PATH, "---\ntags: [dream, sea, house]\n---\nLast night I was ¦ in the house.");
		await propose(page, daemon);
		const line = await page.locator(".cm-line", { has: page.locator(".vaultgpt-ghost") }).textContent();
		expect(line).toMatch(/ in the house\..*as #dream/);
		await page.setViewportSize({ width: 520, height: 640 });
		const [pane, note] = await page.evaluate(() => ["#pane", ".vaultgpt-ghost-note"].map((selector) => document.querySelector(selector)?.getBoundingClientRect().right ?? 0));
		expect(note).toBeLessThanOrEqual(pane ?? 0);
		await expect.poll(() => page.locator("#pane").evaluate((element) => element.scrollWidth - element.clientWidth)).toBeLessThanOrEqual(0);
	});

	test("the sentence least like the author is marked, and the one most like them; the month's surprises are told", async () => {
		const [mine, theirs] = ["Last night I was in the pool and nobody had drained it.", "Pursuant to subsection 4(b), indemnification obligations hereunder survive termination."];
		const note = `${mine} ${theirs} Gerald was folding towels and the clock had stopped.`;
		await open(page, PATH, note);
		await page.evaluate(() => window.bench.run("unlike"));
		await page.locator(".vaultgpt-unlike").waitFor({ timeout: 60_000 });
		await expect.poll(() => page.locator(".vaultgpt-unlike").textContent()).toBe(theirs);
		await expect.poll(() => page.locator(".vaultgpt-like").count()).toBe(1);
		await expect.poll(() => doc()).toBe(note);
		await page.evaluate(() => window.bench.run("unlike"));
		await expect.poll(() => page.locator(".vaultgpt-unlike, .vaultgpt-like").count()).toBe(0);
		await page.evaluate(([path, text]) => {
			const { notes } = window.bench.app.vault;
			notes.set(path ?? "", text ?? "");
			notes.set("Dreams/Off.md", `---\nvaultgpt: false\n---\n${text}`);
			window.bench.run("open-history");
		}, [PATH, note]);
		// A note is marked meanwhile, which ends only a marking.
		await page.route("**/v1/likeness", async (route) => {
			await page.evaluate(() => window.bench.run("unlike"));
			await route.continue().catch(() => undefined);
		}, { times: 1 });
		await page.locator("#side button", { hasText: "Look for them" }).click();
		const told = page.locator("#side p", { hasText: theirs });
		await told.waitFor({ timeout: 60_000 });
		await expect.poll(() => page.locator('#side button[aria-label="Open Off"]').count()).toBe(0);
		await told.locator("button").click();
		await expect.poll(() => page.evaluate(() => window.bench.app.workspace.linked)).toEqual([PATH]);
	});

	test("a language that the base has not read is said once, in plain words, and stands in the status bar", async () => {
		const told = page.locator("#notices .notice", { hasText: "This looks like German, and pebble" });
		await open(page, PATH, "Gestern Abend bin ich noch einmal am Fluss entlanggegangen, obwohl es schon dunkel war, und ich hörte nur meine eigenen Schritte im Nebel");
		await propose(page, daemon);
		await expect.poll(() => told.count()).toBe(1);
		await page.locator(".vaultgpt-status").hover();
		await expect.poll(() => page.locator(".vaultgpt-status").getAttribute("aria-label")).toContain("This looks like German");
		await told.evaluateAll((all) => all.forEach((one) => one.remove()));
		await page.keyboard.press("Escape");
		await propose(page, daemon);
		await expect.poll(() => told.count()).toBe(0);
		await page.keyboard.press("Escape");
	});

	test("in Vim's normal mode, at a line's end, it is inserted after the last character", async () => {
		await page.evaluate(() => Object.assign(window.bench, { vim: true }));
		await open(page, PATH, "¦The sea was\nnext");
		await page.keyboard.press("$");
		const text = await propose(page, daemon);
		await page.keyboard.press("Tab");
		await expect.poll(() => doc()).toBe(`The sea was${text}\nnext`);
	});
});
