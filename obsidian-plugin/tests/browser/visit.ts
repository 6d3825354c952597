// What a person does with a page: pairs, opens a note, presses the hotkey, waits for the ghost.
import type { Page } from "playwright-core";
import { Daemon } from "./daemon.ts";
import { pair, Pages } from "./pages.ts";
import { vaultgpt, type Stage } from "./stage.ts";

const SECONDS = { timeout: 90_000 };

/** A browser, and the daemon that allows its origin. */
export async function enter(stage: Stage): Promise<{ pages: Pages; daemon: Daemon }> {
	const pages = await Pages.open(stage);
	await vaultgpt(stage.home, "config", stage.vault, "server.origins", pages.origin);
	const token = (await vaultgpt(stage.home, "token", stage.vault)).trim();
	return { pages, daemon: await Daemon.start(stage, token) };
}

/** Pair the plugin as a person would, and wait until it shows the active generation. */
export async function arrive(page: Page, daemon: Daemon): Promise<void> {
	await pair(page, daemon.address, daemon.token);
	await page.evaluate(() => window.bench.ready());
	await shows(page, String((await daemon.get("/v1/status"))["active"]));
}

/** One short continuation at a time, where its length does not matter. */
export async function brief(page: Page): Promise<void> {
	await page.evaluate(() => Object.assign((window.bench.plugin as unknown as { settings: object }).settings, { length: "sentence", alternatives: 1 }));
}

/** Let the mirror load, so that no test waits for it. */
export async function awake(daemon: Daemon): Promise<void> {
	await daemon.texts({ prompt: "I", max_tokens: 1 });
}

/** A note in the editor; `|` in it marks the cursor, else it is at the end. */
export async function open(page: Page, path: string, marked: string): Promise<void> {
	await page.evaluate(([at, text]) => window.bench.open(at ?? "", text ?? ""), [path, marked]);
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
