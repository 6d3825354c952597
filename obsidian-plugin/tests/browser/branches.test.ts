// The pane with a note's branches, by the keyboard alone: shown again, gone on from at a word, kept as a
// note. The installed main.js, the real daemon.
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { beforeEach, describe, expect, inject, test } from "vitest";
import type { Daemon } from "./daemon.ts";
import { own } from "./stage.ts";
import { open, propose, visiting } from "./visit.ts";

const stage = own(inject("stages"));
const browser = inject("browser");
const PATH = "Dreams/2021-06-19 Lanes.md";
/** With a word changed in the middle, eight in a row are left on each side, by which they are told. */
const LONG_WORDS = 25;
const NOTE = "Last night I was in the pool and";

describe.runIf(browser)("the branches of a note", () => {
	let page: Page;
	let daemon: Daemon;
	const visit = visiting(stage);

	beforeEach(async () => {
		({ page, daemon } = visit);
		await page.evaluate(() => window.bench.wish({ length: "sentence", alternatives: 2 }));
		await page.evaluate(() => window.bench.run("branches"));
	});

	const doc = () => page.evaluate(() => window.bench.doc());
	const ghost = () => page.evaluate(() => window.bench.ghost());
	const items = (on: Page) => on.locator('#side [role="treeitem"]');

	test("every alternative is kept; one is shown again, taken and marked; nothing is in the note before", async () => {
		await open(page, PATH, NOTE);
		await propose(page, daemon);
		const texts = await daemon.texts((await page.evaluate(() => window.bench.lastRequest())) as object);
		await page.keyboard.press("Escape");
		await expect.poll(() => items(page).count()).toBe(2);
		await items(page).first().click();
		await page.keyboard.press("ArrowDown");
		await page.keyboard.press("ArrowUp");
		await expect.poll(() => page.locator('#side [aria-selected="true"] .vaultgpt-branch-begun').textContent()).toBe(texts[0]);
		await page.keyboard.press("Enter");
		await expect.poll(() => ghost()).toBe(texts[0]);
		await expect.poll(() => doc()).toBe(NOTE);
		await page.keyboard.press("Tab");
		await expect.poll(() => doc()).toBe(NOTE + (texts[0] ?? ""));
		await page.locator("#side .is-taken", { hasText: "✓ taken" }).waitFor();
	});

	test("from any word of it one goes on, and it is kept as a note that is never learned", async () => {
		await open(page, PATH, NOTE);
		await propose(page, daemon);
		await page.keyboard.press("Escape");
		await items(page).first().click();
		const whole = (await page.locator('#side [aria-selected="true"] .vaultgpt-branch-begun').textContent()) ?? "";
		for (let n = whole.trim().split(/\s+/).length; n > 0; n--) await page.keyboard.press("ArrowLeft");
		const begun = (await page.locator('#side [aria-selected="true"] .vaultgpt-branch-begun').textContent()) ?? "";
		expect(begun).toMatch(/^\s*\S+$/);
		expect(whole.startsWith(begun)).toBe(true);
		await page.keyboard.press("k");
		const kept = () => page.evaluate(() => [...window.bench.app.vault.notes.values()]);
		await expect.poll(kept).toEqual([`---\nvaultgpt: false\n---\n${NOTE}${begun}\n`]);
		await page.keyboard.press("f");
		await page.waitForFunction((start) => (window.bench.ghost()?.length ?? 0) > start, begun.length, { timeout: 60_000 });
		expect((await ghost())?.startsWith(begun)).toBe(true);
		const { note } = ((await page.evaluate(() => window.bench.lastRequest())) as { vaultgpt: { note: { text: string; cursor: number } } }).vaultgpt;
		expect([note.text, note.cursor]).toEqual([NOTE + begun, (NOTE + begun).length]);
		await expect.poll(() => doc()).toBe(NOTE);
	});

	test("whose words: what was taken is tinted, what was changed of it otherwise, the author's own not", async () => {
		const path = "Dreams/Whose.md";
		const file = join(stage.vault, path);
		const own = "I woke before the others and went down to the water, where nobody was. ";
		writeFileSync(file, own);
		await page.evaluate(() => window.bench.wish({ length: "page", alternatives: 1 }));
		const known = async () => ((await daemon.get(`/v1/notes?path=${encodeURIComponent(path)}`)) as { code: string }).code;
		await expect.poll(known, { timeout: 30_000 }).not.toBe("unread");
		await open(page, path, own);
		let text = await propose(page, daemon);
		for (; text.trim().split(/\s+/).length < LONG_WORDS; text = await propose(page, daemon)) await page.keyboard.press("Escape"); // an author ends early too
		await page.keyboard.press("Tab");
		await expect.poll(() => page.evaluate(() => window.localStorage.getItem("vaultgpt-accepted") ?? "")).toBe("");
		const save = async () => {
			writeFileSync(file, await doc());
			await page.evaluate((at) => window.bench.app.vault.modified(at), path);
		};
		await save();
		await page.evaluate(() => window.bench.run("whose"));
		const tinted = (kind: string) => page.locator(`#note .vaultgpt-${kind}`).allTextContents();
		await expect.poll(async () => (await tinted("mirrors")).join("")).not.toBe("");
		expect(text).toContain((await tinted("mirrors"))[0]);
		expect((await tinted("mirrors")).join(" ")).not.toContain("I woke before the others");
		await page.evaluate((half) => {
			const { editor } = window.bench;
			const found = / (\S+) /.exec(editor?.state.doc.sliceString(half) ?? "");
			const at = half + (found?.index ?? 0) + 1;
			if (found) editor?.dispatch({ changes: { from: at, to: at + (found[1]?.length ?? 0), insert: "otherwise" } });
		}, own.length + Math.floor(text.length / 2));
		await save();
		await expect.poll(async () => (await tinted("edited")).join("")).toContain("otherwise");
		await page.evaluate(() => window.bench.run("open-history"));
		await page.locator("#side p", { hasText: /^\d+ % of its words are the mirror's/ }).waitFor();
		await page.locator("#side p", { hasText: /^Without a date: \d+ % of its words are the mirror's/ }).waitFor();
		await page.evaluate(() => window.bench.run("whose"));
		await expect.poll(() => page.locator("#note .vaultgpt-mirrors").count()).toBe(0);
		rmSync(file);
	});
});
