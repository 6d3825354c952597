// The side view's buttons, clicked: a round to its end, another generation, the way back, and why.
// The installed main.js, the real daemon, generations that were really trained.
import { cpSync } from "node:fs";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { afterAll, beforeEach, describe, expect, inject, test } from "vitest";
import type { Daemon } from "./daemon.ts";
import { REPOSITORY, own, vaultgpt } from "./stage.ts";
import { brief, open, propose, shows, visiting, writes } from "./visit.ts";

const stage = own(inject("stages"));
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
	let page: Page;
	let daemon: Daemon;
	const visit = visiting(stage);

	afterAll(async () => {
		await visit.daemon?.post(`/v1/generations/${stage.generation}/activate`, {});
	});

	beforeEach(async () => {
		({ page, daemon } = visit);
		await brief(page);
		await page.evaluate(() => window.bench.run("open-history"));
	});

	const side = (selector: string, hasText: string | RegExp) => page.locator(`#side ${selector}`, { hasText });
	const active = async () => String((await daemon.get("/v1/status"))["active"]);
	const rows = async () => (await daemon.get("/v1/generations"))["generations"] as Row[];
	const box = (id: string) => page.locator(`#side .vaultgpt-generation[data-generation="${id}"]`);

	/** The view, the status bar, the ghost and the daemon agree that `id` is active. */
	async function agreed(id: string): Promise<void> {
		await expect.poll(active, { timeout: 30_000 }).toBe(id);
		await writes(page, id);
		await side(`.vaultgpt-generation.is-active[data-generation="${id}"]`, "(writes now)").waitFor();
		await expect.poll(() => page.locator("#side .vaultgpt-generation.is-active").count()).toBe(1);
		await open(page, PATH, "Last night I was in the pool and");
		const text = await propose(page, daemon); // the mirror's own text, now of this generation
		await expect.poll(() => page.evaluate(() => window.bench.part("voice"))).toContain("voice of ");
		const request = (await page.evaluate(() => window.bench.lastRequest())) as object;
		const answer = await daemon.post("/v1/completions", { ...request, stream: false, model: id });
		expect((answer["choices"] as { text: string }[])[0]?.text).toBe(text);
		await page.keyboard.press("Escape");
	}

	test("Learn now learns what is new; the new generation stands in the view with its verdict", async () => {
		const before = (await rows()).map(({ id }) => id);
		for (const part of NEW) cpSync(join(REPOSITORY, "examples", "vault", part), join(stage.vault, part), { recursive: true, preserveTimestamps: true });
		await shows(page, "notes waiting");
		await side("button", "Learn now").click();
		await side("button", "Stop learning").waitFor({ timeout: 60_000 });
		const made = async () => (await rows()).find(({ id }) => !before.includes(id));
		await expect.poll(made, { timeout: ROUND_MS, interval: 500 }).toBeDefined();
		await side("button", "Learn now").waitFor({ timeout: 60_000 });
		const row = await made();
		if (!row) throw new Error("the new generation is gone");
		await box(row.id).waitFor();
		const told = (await box(row.id).textContent()) ?? "";
		expect(told).toContain(`${row.promoted ? "Better" : "Kept back"}: ${row.why}`);
		expect(told).toContain(`${row.held_out?.toFixed(3)} bits per byte`);
		expect(row.active).toBe(row.promoted);
		await expect.poll(() => page.locator("#side .vaultgpt-chart circle").count()).toBe((await rows()).filter((each) => each.held_out !== null).length);
	}, ROUND_MS + 120_000);

	test("Activate and Back change what /v1/status says, and who writes", async () => {
		const [newest, ...older] = (await rows()).filter(({ barred }) => !barred);
		const first = older.find(({ promoted }) => promoted);
		if (!newest || !first) throw new Error(`two generations are needed: ${JSON.stringify(await rows())}`);
		if ((await active()) === newest.id) await box(first.id).locator("button", { hasText: "Use this voice" }).click();
		await agreed(first.id);
		await expect.poll(() => box(first.id).locator("button").count()).toBe(0); // the active one has no button
		const use = box(newest.id).locator("button", { hasText: "Use this voice" });
		await expect.poll(() => use.getAttribute("aria-label")).toMatch(/^Use the voice learned /);
		await use.click();
		if (!newest.promoted) await page.locator(".modal button", { hasText: "Agree" }).click();
		await agreed(newest.id);
		await side("button", /^Back to the voice learned /).click();
		await agreed(first.id);
	});

	test("the page of one's voice rolls back by one press, and forward again", async () => {
		const usable = (await rows()).filter(({ barred }) => !barred);
		const newest = usable[0];
		const before = usable.slice(1).find(({ promoted }) => promoted);
		if (!newest || !before) throw new Error(`two generations are needed: ${JSON.stringify(await rows())}`);
		await daemon.post(`/v1/generations/${newest.id}/activate`, {});
		const { url } = JSON.parse(await vaultgpt(stage.home, "open", stage.vault, "--json")) as { url: string };
		const home = await page.context().newPage();
		home.on("dialog", (dialog) => void dialog.accept()); // of a voice that was not taken it asks first
		await home.goto(url);
		const now = (id: string) => home.locator(".voice", { hasText: `${id}.` }).locator(".badge", { hasText: "writes now" });
		await now(newest.id).waitFor();
		await home.getByRole("button", { name: "Roll back" }).press("Enter");
		await home.locator("#verdict", { hasText: "From now on it writes in the voice learned" }).waitFor();
		await now(before.id).waitFor();
		expect(await active()).toBe(before.id);
		expect(await home.evaluate(() => document.activeElement?.id)).toBe("voice-list");
		await home.locator(".voice", { hasText: `${newest.id}.` }).getByRole("button", { name: /^Write in the voice learned / }).click();
		await now(newest.id).waitFor();
		expect(await active()).toBe(newest.id);
		await home.close();
	});

	test("where the base writes though a voice was learned, that is said, and how to go back", async () => {
		await daemon.post("/v1/generations/base/activate", {});
		await page.locator(".vaultgpt-status", { hasText: "the base writes, not your voice" }).waitFor();
		await page.evaluate(() => window.bench.run("open-history"));
		await side("p", "To go back to your voice").waitFor();
		await page.evaluate(() => window.bench.run("roll-back"));
		const newest = (await rows()).find(({ barred, promoted }) => promoted && !barred)?.id ?? "";
		await expect.poll(active, { timeout: 30_000 }).toBe(newest);
		await writes(page, newest);
		await expect.poll(() => page.locator("#side p", { hasText: "To go back to your voice" }).count()).toBe(0);
	});

	test("the command goes back too, and says so; before the first there is nothing", async () => {
		const usable = (await rows()).filter(({ barred, promoted }) => promoted && !barred);
		const first = usable.at(-1)?.id ?? "";
		const newest = (await rows())[0]?.id ?? "";
		await daemon.post(`/v1/generations/${newest}/activate`, {});
		await writes(page, newest);
		for (let at = newest; at !== first; at = await active()) {
			await page.evaluate(() => window.bench.run("roll-back"));
			await expect.poll(active, { timeout: 30_000 }).not.toBe(at);
			await page.locator(".notice", { hasText: /^The voice learned .* writes now\.$/ }).waitFor();
		}
		await writes(page, first);
		await page.evaluate(() => window.bench.run("roll-back"));
		await page.locator(".notice", { hasText: "There is no earlier voice" }).waitFor();
		await expect.poll(() => active()).toBe(first);
	});

	test("an event leaves focus and selection where they are; nothing is asked while it is collapsed", async () => {
		await box(await active()).waitFor();
		await side("button", "Learn now").focus();
		await page.evaluate(() => {
			const name = document.querySelector("#side .vaultgpt-generation-name");
			window.getSelection()?.selectAllChildren(name ?? document.body);
		});
		const state = () => page.evaluate(() => [document.activeElement?.textContent, window.getSelection()?.toString()]);
		const before = await state();
		expect(before[1]).toMatch(/^Learned/);
		await daemon.post("/v1/reload", {});
		await open(page, "Dreams/2021-07-02 Bells.md", "Bells");
		await page.evaluate(() => (document.querySelector("#side button") as HTMLElement).focus());
		await page.evaluate(() => window.bench.app.workspace.trigger("file-open", null));
		await page.waitForTimeout(300);
		expect((await state())[0]).toBe(before[0]);
		let asked = 0;
		page.on("request", (request) => (asked += /\/v1\/(?:report|notes)/.test(request.url()) ? 1 : 0));
		await page.evaluate(() => document.querySelector("#side")?.setAttribute("hidden", ""));
		await page.evaluate(() => window.bench.app.workspace.trigger("file-open", null));
		await page.waitForTimeout(300);
		expect(asked).toBe(0);
		await page.evaluate(() => {
			document.querySelector("#side")?.removeAttribute("hidden");
			for (const view of window.bench.app.workspace.sides.values()) view.onResize();
		});
		await expect.poll(() => asked).toBeGreaterThan(0);
	});

	test("why this note is used or not is told for the note that is open, by the view and the command", async () => {
		const cases = { [PATH]: "This note is learned from.", "Lists/Not for the machine.md": "This note is not used: Its front matter says", "Dreams/Nowhere.md": "This note is not used: it was not read yet" };
		for (const [path, sentence] of Object.entries(cases)) {
			await open(page, path, "Text");
			await side("p", sentence).waitFor();
			await page.evaluate(() => window.bench.run("why"));
			await page.locator(".notice", { hasText: sentence }).waitFor();
		}
	});
});
