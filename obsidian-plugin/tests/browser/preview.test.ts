// The installed main.js in an editor that hides and draws Markdown as Live Preview does: a stand-in
// of ours with replacing decorations, block widgets, atomic ranges and list keys; the real daemon.
import type { Page } from "playwright-core";
import { beforeEach, describe, expect, inject, test } from "vitest";
import type { Daemon } from "./daemon.ts";
import { own } from "./stage.ts";
import { brief, open, propose, visiting } from "./visit.ts";

const stage = own(inject("stages"));
const browser = inject("browser");
const PATH = "Dreams/2021-06-19 Lanes.md";
const TOP = "# A **dream** of [lanes](Lanes.md)\n\nIt was **cold** there.\n\n";

describe.runIf(browser)("in a live preview", () => {
	let page: Page;
	let daemon: Daemon;
	const visit = visiting(stage, (at) => at.evaluate(() => Object.assign(window.bench, { livePreview: true })));

	beforeEach(async () => {
		({ page, daemon } = visit);
		await brief(page);
	});

	const doc = () => page.evaluate(() => window.bench.doc());
	const rect = (selector: string) => page.locator(selector).first().evaluate((element) => element.getBoundingClientRect().toJSON() as DOMRect);

	/** The ghost stands at the cursor, Tab inserts it there and nowhere else, one undo takes it out. */
	async function lives(marked: string): Promise<void> {
		await open(page, PATH, marked);
		const before = await doc();
		const text = await propose(page, daemon);
		await expect.poll(() => doc()).toBe(before);
		const { ghost, cursor } = await page.evaluate(() => {
			const found = window.bench.place();
			return { ghost: found.ghost.toJSON() as DOMRect, cursor: found.cursor };
		});
		expect(Math.abs(ghost.left - cursor.left)).toBeLessThanOrEqual(2);
		expect(ghost.top).toBeLessThan(cursor.bottom);
		expect(ghost.bottom).toBeGreaterThan(cursor.top);
		await page.keyboard.press("Tab");
		await expect.poll(() => doc()).toBe(marked.replace("|", text));
		await page.keyboard.press("Control+z");
		await expect.poll(() => doc()).toBe(before);
	}

	test("the stand-in hides markup where the cursor is not", async () => {
		await open(page, PATH, `${TOP}![[baths.png]]\n\n- one|`);
		const drawn = await page.locator("#note .cm-content").innerText();
		expect(drawn).toContain("A dream of lanes");
		expect(drawn).toContain("• one");
		expect(drawn).not.toContain("**");
		await expect.poll(() => page.locator(".lp-block").count()).toBe(1);
	});

	test("in a list item Tab takes the ghost; without one it indents the item", async () => {
		const note = `${TOP}- towels and **keys**\n- the clock|\n- the lanes`;
		await lives(note);
		await page.keyboard.press("Tab");
		await expect.poll(() => doc()).toMatch(/\n\s+- the clock\n/);
	});

	test.each(["He had **never been**| there.", "He had **never been|** there.", "He had **never been** |there."])("at the end of a bold span: %s", async (line) => {
		await lives(`${TOP}${line}\n\nAnd **more**.`);
	});

	test("in an empty note, and in an empty line below hidden markup", async () => {
		await lives("|");
		await lives(`${TOP}|`);
	});

	test("before a block widget the ghost stands above it", async () => {
		const note = `${TOP}The baths from the air|\n![[baths.png]]\n\n---\nAfter it.`;
		await open(page, PATH, note);
		await propose(page, daemon);
		const [ghost, block] = [await rect(".vaultgpt-ghost"), await rect(".lp-block")];
		expect(ghost.bottom).toBeLessThanOrEqual(block.top + 1);
		await page.keyboard.press("Escape");
		await lives(note);
	});

	test("at the end of an embed that is drawn below the cursor's own line", async () => {
		const note = `${TOP}![[baths.png]]|\n\nAfter it.`;
		await open(page, PATH, note);
		await propose(page, daemon);
		const [ghost, block] = [await rect(".vaultgpt-ghost"), await rect(".lp-block")];
		expect(ghost.bottom).toBeLessThanOrEqual(block.top + 1);
		await page.keyboard.press("Escape");
		await lives(note);
	});

	test("a word at a time, past markup that appears and hides again", async () => {
		const marked = `${TOP}It was **warm**|`;
		await open(page, PATH, marked);
		const text = await propose(page, daemon);
		for (let n = 0; n < 3; n++) await page.keyboard.press("Control+ArrowRight");
		const taken = (await doc()).slice(marked.length - 1);
		expect(text.startsWith(taken)).toBe(true);
		expect(taken).not.toBe("");
		await expect.poll(() => page.evaluate(() => window.bench.ghost())).toBe(text.length > taken.length ? text.slice(taken.length) : null);
		await page.keyboard.press("Escape");
		for (let n = 0; n < 3; n++) await page.keyboard.press("Control+z");
		await expect.poll(() => doc()).toBe(marked.replace("|", ""));
	});
});
