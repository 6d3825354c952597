// The side view's buttons, clicked: a round to its end, another generation, the way back, and why.
// The installed main.js, the real daemon, generations that were really trained.
import { cpSync } from "node:fs";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from "vitest";
import type { Daemon } from "./daemon.ts";
import type { Pages } from "./pages.ts";
import { REPOSITORY } from "./stage.ts";
import { arrive, awake, brief, enter, open, propose, shows } from "./visit.ts";

const stage = inject("stage");
const browser = inject("browser");
const PATH = "Dreams/2021-06-19 Lanes.md";
const ROUND_MS = 900_000;
/** New to a vault of dreams and poems, and enough of it that its round is better beyond doubt. */
const NEW = ["Lists", join("Journal", "2024")];

interface Row {
	id: string;
	active: boolean;
	barred: boolean;
	promoted: boolean;
	why: string;
	held_out: number | null;
}

describe.runIf(browser)("the side view", () => {
	let pages: Pages;
	let daemon: Daemon;
	let page: Page;
	let errors: string[];

	beforeAll(async () => {
		({ pages, daemon } = await enter(stage));
		await awake(daemon);
	});

	afterAll(async () => {
		await daemon?.post(`/v1/generations/${stage.generation}/activate`, {});
		await daemon?.kill();
		await pages?.close();
	});

	beforeEach(async () => {
		({ page, errors } = await pages.load());
		await arrive(page, daemon);
		await brief(page);
		await page.evaluate(() => window.bench.run("open-history"));
	});

	afterEach(async () => {
		expect(errors).toEqual([]);
		await page.context().close();
	});

	const side = (selector: string, hasText: string | RegExp) => page.locator(`#side ${selector}`, { hasText });
	const active = async () => String((await daemon.get("/v1/status"))["active"]);
	const rows = async () => (await daemon.get("/v1/generations"))["generations"] as Row[];
	const named = (id: string) => page.locator(".vaultgpt-generation-name", { hasText: id });
	const box = (id: string) => page.locator("#side .vaultgpt-generation", { has: named(id) });

	/** The view, the status bar, the ghost and the daemon agree that `id` is active. */
	async function agreed(id: string): Promise<void> {
		await expect.poll(active, { timeout: 30_000 }).toBe(id);
		await shows(page, id);
		await side(".vaultgpt-generation.is-active", `${id} (active)`).waitFor();
		expect(await page.locator("#side .vaultgpt-generation.is-active").count()).toBe(1);
		await open(page, PATH, "Last night I was in the pool and");
		const text = await propose(page, daemon); // the mirror's own text, now of this generation
		expect(await page.evaluate(() => window.bench.part("voice"))).toContain(id);
		const request = (await page.evaluate(() => window.bench.lastRequest())) as object;
		const answer = await daemon.post("/v1/completions", { ...request, stream: false, model: id });
		expect((answer["choices"] as { text: string }[])[0]?.text).toBe(text);
		await page.keyboard.press("Escape");
	}

	test("Train now learns what is new; the new generation stands in the view with its verdict", async () => {
		const before = (await rows()).map(({ id }) => id);
		for (const part of NEW) cpSync(join(REPOSITORY, "examples", "vault", part), join(stage.vault, part), { recursive: true, preserveTimestamps: true });
		await shows(page, "notes waiting");
		await side("button", "Train now").click();
		await side("button", "Stop learning").waitFor({ timeout: 60_000 });
		const made = async () => (await rows()).find(({ id }) => !before.includes(id));
		await expect.poll(made, { timeout: ROUND_MS, interval: 500 }).toBeDefined();
		await side("button", "Train now").waitFor({ timeout: 60_000 });
		const row = await made();
		if (!row) throw new Error("the new generation is gone");
		await box(row.id).waitFor();
		const told = (await box(row.id).textContent()) ?? "";
		expect(told).toContain(`${row.promoted ? "Promoted" : "Kept back"}: ${row.why}`);
		expect(told).toContain(`${row.held_out?.toFixed(3)} bits per byte`);
		expect(row.active).toBe(row.promoted);
		expect(await page.locator("#side .vaultgpt-chart circle").count()).toBe((await rows()).filter((each) => each.held_out !== null).length);
	}, ROUND_MS + 120_000);

	test("Activate and Back change what /v1/status says, and who writes", async () => {
		const [newest, ...older] = (await rows()).filter(({ barred }) => !barred);
		const first = older.find(({ promoted }) => promoted);
		if (!newest || !first) throw new Error(`two generations are needed: ${JSON.stringify(await rows())}`);
		if ((await active()) === newest.id) await box(first.id).locator("button", { hasText: "Activate" }).click();
		await agreed(first.id);
		expect(await box(first.id).locator("button").count()).toBe(0); // the active one has no button
		await box(newest.id).locator("button", { hasText: "Activate" }).click();
		await agreed(newest.id);
		await side("button", `Back to ${first.id}`).click();
		await agreed(first.id);
	});

	test("the command goes back too, and says so; before the first there is nothing", async () => {
		const usable = (await rows()).filter(({ barred, promoted }) => promoted && !barred);
		const first = usable.at(-1)?.id ?? "";
		const newest = (await rows())[0]?.id ?? "";
		await daemon.post(`/v1/generations/${newest}/activate`, {});
		await shows(page, newest);
		for (let at = newest; at !== first; at = await active()) {
			await page.evaluate(() => window.bench.run("roll-back"));
			await expect.poll(active, { timeout: 30_000 }).not.toBe(at);
			await page.locator(".notice", { hasText: `${await active()} is active.` }).waitFor();
		}
		await shows(page, first);
		await page.evaluate(() => window.bench.run("roll-back"));
		await page.locator(".notice", { hasText: "There is no earlier generation" }).waitFor();
		expect(await active()).toBe(first);
	});

	test("why this note is used or not is told for the note that is open, by the view and the command", async () => {
		const cases = { [PATH]: "This note is learned from.", "Lists/Not for the machine.md": "This note is not used: Its front matter says", "Dreams/Nowhere.md": "no such note" };
		for (const [path, sentence] of Object.entries(cases)) {
			await open(page, path, "Text");
			await side("p", sentence).waitFor();
			await page.evaluate(() => window.bench.run("why"));
			await page.locator(".notice", { hasText: sentence }).waitFor();
		}
	});
});
