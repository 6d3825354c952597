// What a person does with a page: pairs, opens a note, presses the hotkey, waits for the ghost.
import type { Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, expect } from "vitest";
import { Daemon } from "./daemon.ts";
import { Pages } from "./pages.ts";
import type { Stage } from "./stage.ts";

const SECONDS = { timeout: 90_000 };

/** A browser, and the daemon of this worker, its mirror awake. */
export async function enter(stage: Stage): Promise<{ pages: Pages; daemon: Daemon }> {
	const [pages, daemon] = await Promise.all([Pages.open(stage), Daemon.of(stage)]);
	await daemon.texts({ prompt: "I", max_tokens: 1 });
	return { pages, daemon };
}

/** Pair the plugin, and wait until it shows the active generation. How a person pairs, `pair` does. */
export async function arrive(page: Page, daemon: Daemon): Promise<void> {
	await page.evaluate(([address, token]) => {
		const { app } = window.bench;
		app.saveLocalStorage("vaultgpt-address", address);
		app.secrets.set("vaultgpt-token", token ?? "");
		window.bench.ready();
	}, [daemon.address, daemon.token]);
	await writes(page, String((await daemon.get("/v1/status"))["active"] ?? ""));
}

export interface Visit {
	page: Page;
	daemon: Daemon;
	/** Another page in place of this one, in which nothing is paired yet. */
	anew(...how: Parameters<Pages["load"]>): Promise<Page>;
}

/** For a block of tests: this worker's daemon, and for each test a page of its own that has arrived. */
export function visiting(stage: Stage, loaded: (page: Page) => Promise<unknown> = async () => undefined): Visit {
	let pages: Pages;
	let errors: string[];
	const load = async (...how: Parameters<Pages["load"]>) => {
		const made = await pages.load(...how);
		errors = made.errors;
		return (visit.page = made.page);
	};
	const visit = {
		anew: async (...how) => {
			await visit.page.context().close();
			return load(...how);
		},
	} as Visit;

	beforeAll(async () => {
		const entered = await enter(stage);
		pages = entered.pages;
		visit.daemon = entered.daemon;
	});

	afterAll(async () => {
		await pages?.close();
	});

	beforeEach(async () => {
		await loaded(await load());
		await arrive(visit.page, visit.daemon);
	});

	afterEach(async () => {
		expect(errors).toEqual([]);
		await visit.page.context().close();
	});
	return visit;
}

/** One short continuation at a time, where its length does not matter. */
export async function brief(page: Page): Promise<void> {
	await page.evaluate(() => window.bench.wish({ length: "sentence", alternatives: 1 }));
}

/** A note in the editor; `¦` or `|` in it marks the cursor, else it is at the end. */
export async function open(page: Page, path: string, marked: string): Promise<void> {
	await page.evaluate(([at, text]) => window.bench.open(at ?? "", text ?? ""), [path, marked]);
}

/** The status bar stands for this generation. */
export async function writes(page: Page, generation: string): Promise<void> {
	await page.locator(`.vaultgpt-status[data-generation="${generation}"]`).waitFor(SECONDS);
}

export async function shows(page: Page, status: string): Promise<void> {
	await page.locator(".vaultgpt-status", { hasText: status }).waitFor(SECONDS);
}

/** Press the hotkey, and wait until the ghost is the whole text of the same request asked for directly. */
export async function propose(page: Page, daemon: Daemon): Promise<string> {
	await page.keyboard.press("Control+;");
	await page.waitForFunction(() => Boolean(window.bench.ghost()), null, SECONDS);
	const request = (await page.evaluate(() => window.bench.lastRequest())) as object;
	const [text = ""] = await daemon.texts(request);
	await page.waitForFunction((whole) => window.bench.ghost() === whole, text, SECONDS);
	return text;
}
