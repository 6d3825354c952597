// Pictures of the real thing, a strip of them, and a film for the README. `npm run screenshots`.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, inject, test } from "vitest";
import type { Daemon } from "./daemon.ts";
import { film } from "./demo.ts";
import type { Pages } from "./pages.ts";
import { NAME } from "./proxy.ts";
import { own, vaultgpt } from "./stage.ts";
import { arrive, enter, propose } from "./visit.ts";

const FOLDER = process.env["SCREENSHOTS"] ?? join(import.meta.dirname, "..", "..", "screenshots");
const NOTE = "#dream\n\nThe lanes had no ends last night. I swam past the clock and the café, past Gerald folding towels, and nobody blew a whistle. ";
const PATH = "Dreams/2021-06-19 Lanes.md";
const SCALE = 1.5;
const MOST_DEMO_BYTES = 600_000;

let pages: Pages;
let daemon: Daemon;

beforeAll(async () => {
	const stage = own(inject("stages"));
	mkdirSync(FOLDER, { recursive: true });
	({ pages, daemon } = await enter(stage));
});

afterAll(async () => {
	await pages?.close();
});

test("pictures", async () => {
	const { page } = await pages.load(SCALE);
	await arrive(page, daemon);
	await page.evaluate(([path, note]) => window.bench.open(path ?? "", note ?? ""), [PATH, NOTE]);
	await page.evaluate(() => document.querySelector("#notices")?.replaceChildren());
	await page.evaluate(() => window.bench.run("open-history"));
	await page.locator(".vaultgpt-generation.is-active").waitFor();
	const frames = await written(page, daemon);
	await page.evaluate(() => window.bench.settings());
	await page.setViewportSize({ width: 1120, height: 820 });
	await page.screenshot({ path: join(FOLDER, "settings.png") });
	await strip(page, frames);
});

/** The same continuation as it looks in the dark theme, in a narrow pane, slanted, and under Vim. */
test("looks", async () => {
	const { page } = await pages.load(SCALE);
	await arrive(page, daemon);
	await page.evaluate(() => window.bench.wish({ length: "sentence" }));
	const frames: [string, Buffer][] = [];
	const look = async (title: string, change: () => void, width = 1120) => {
		await page.setViewportSize({ width, height: 420 });
		await page.evaluate(change);
		await page.evaluate(([path, note]) => window.bench.open(path ?? "", note ?? ""), [PATH, `${NOTE}\n\nAfter it.`.replace("whistle. ", "whistle. ¦")]);
		await page.evaluate(() => document.querySelector("#notices")?.replaceChildren());
		await propose(page, daemon);
		frames.push([title, await page.screenshot({ clip: { x: 0, y: 0, width: Math.min(width, 800), height: 300 } })]);
		await page.keyboard.press("Escape");
	};
	await look("Light", () => void (document.body.className = "theme-light"));
	await look("Dark", () => void (document.body.className = "theme-dark"));
	await look("A narrow pane", () => void (document.body.className = "theme-light"), 620);
	await look("Vim", () => void Object.assign(window.bench, { vim: true }));
	await strip(page, frames, "looks.png");
});

/** The page of one's voice, whole, in both looks. */
test("voice", async () => {
	const stage = own(inject("stages"));
	const { url } = JSON.parse(await vaultgpt(stage.home, "open", stage.vault, "--json")) as { url: string };
	const { page } = await pages.load();
	await page.setViewportSize({ width: 900, height: 800 });
	await page.goto(url);
	await page.locator(".voice .badge").waitFor();
	await page.fill("#text", "Last night I");
	await page.fill("#tags", "dream");
	await page.getByRole("button", { name: "Write on" }).click();
	await page.waitForFunction(() => document.querySelector("#said")?.textContent);
	await page.getByRole("button", { name: "Look for surprises" }).click();
	await page.getByRole("heading", { name: "Most your own" }).waitFor({ timeout: 120_000 });
	await vaultgpt(stage.home, "config", "server.phone", NAME, "--vault", stage.vault);
	await page.getByRole("button", { name: "Show the code" }).click();
	await page.getByRole("img", { name: "The code that pairs your phone" }).waitFor();
	for (const [look, colorScheme, width] of [["light", "light", 900], ["dark", "dark", 900], ["narrow", "light", 360]] as const) {
		await page.emulateMedia({ colorScheme });
		await page.setViewportSize({ width, height: 800 });
		await page.screenshot({ path: join(FOLDER, `voice-${look}.png`), fullPage: true });
	}
});

test("film", async () => {
	const { page } = await pages.load();
	await arrive(page, daemon);
	const demo = await film(page, daemon);
	if (demo.length > MOST_DEMO_BYTES) throw new Error(`demo.gif has ${demo.length} bytes; ${MOST_DEMO_BYTES} is the limit`);
	writeFileSync(join(FOLDER, "demo.gif"), demo);
});

/** A continuation as it is met: waited for, shown, partly taken, another one, taken. */
async function written(page: Page, daemon: Daemon): Promise<[string, Buffer][]> {
	const frames: [string, Buffer][] = [];
	const pane = async (title: string) => {
		const clip = { x: 0, y: 0, width: 800, height: 300 };
		frames.push([title, await page.screenshot({ clip })]);
	};
	await page.evaluate(() => window.bench.editor?.focus());
	await propose(page, daemon);
	await page.screenshot({ path: join(FOLDER, "ghost.png") });
	await pane("The hotkey: your voice, as ghost text");
	await page.keyboard.press("Control+ArrowDown");
	await pane("Ctrl ↓: another one");
	for (let n = 0; n < 4; n++) await page.keyboard.press("Control+ArrowRight");
	await pane("Ctrl →: a word at a time");
	await page.keyboard.press("Tab");
	await pane("Tab: all of it; one undo takes it back");
	return frames;
}

async function strip(page: Page, frames: readonly [string, Buffer][], name = "strip.png"): Promise<void> {
	const cells = frames.map(([title, image]) => `<figure><figcaption>${title}</figcaption><img src="data:image/png;base64,${image.toString("base64")}"></figure>`);
	await page.setViewportSize({ width: 1120, height: 500 });
	await page.setContent(`<style>body{margin:0;padding:12px;display:grid;grid-template-columns:1fr 1fr;gap:12px;font:14px "DejaVu Sans",sans-serif;background:#fff}
		figure{margin:0;border:1px solid #ddd;border-radius:6px;overflow:hidden}figcaption{padding:6px 12px;background:#f6f6f6;color:#444}img{width:100%;display:block}</style>${cells.join("")}`);
	await page.screenshot({ path: join(FOLDER, name), fullPage: true });
}
