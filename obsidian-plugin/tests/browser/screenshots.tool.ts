// Pictures of the real thing, a strip of them, and a film for the README. `npm run screenshots`.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { chromium, type Page } from "playwright-core";
import { PNG } from "pngjs";
import { afterAll, beforeAll, inject, test } from "vitest";
import type { Daemon } from "./daemon.ts";
import { film } from "./demo.ts";
import type { Pages } from "./pages.ts";
import { followLink, openPhone } from "./phones.ts";
import { NAME, Proxy } from "./proxy.ts";
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
		await page.setViewportSize({ width, height: 640 });
		await page.evaluate(change);
		await page.evaluate(([path, note]) => window.bench.open(path ?? "", note ?? ""), [PATH, `${NOTE}\n\nAfter it.`.replace("whistle. ", "whistle. ¦")]);
		await page.evaluate(() => document.querySelector("#notices")?.replaceChildren());
		await propose(page, daemon);
		frames.push([title, await paneOf(page)]);
		await page.keyboard.press("Escape");
	};
	await look("Light", () => void (document.body.className = "theme-light"));
	await look("Dark", () => void (document.body.className = "theme-dark"));
	await look("A narrow pane", () => void (document.body.className = "theme-light"), 620);
	await page.addStyleTag({ content: ".cm-cursorLayer { animation: none !important; }" }); // its block, not a blink
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

/** A phone: a continuation with its buttons in both looks, and the settings. */
test("phone", async () => {
	const stage = own(inject("stages"));
	const proxy = await Proxy.open(daemon.port);
	await vaultgpt(stage.home, "config", "server.phone", proxy.name, "--vault", stage.vault);
	const { link } = (await daemon.post("/v1/phone", {})) as { link: string };
	const { page } = await openPhone(await chromium.connect(stage.browser), stage.origin, (what) => proxy.ask(what), SCALE);
	await followLink(page, link);
	const frames: [string, Buffer][] = [["The code was scanned", await page.screenshot()]];
	await page.locator(".modal button", { hasText: "Agree" }).tap();
	await page.locator(`.vaultgpt-status[data-generation="${stage.generation}"]`).waitFor({ state: "attached" });
	for (const look of ["theme-light", "theme-dark"]) {
		await page.evaluate((name) => void (document.body.className = name), look);
		await page.evaluate(([path, note]) => window.bench.open(path ?? "", note ?? ""), [PATH, `${NOTE}¦\n\nAfter it.`]);
		await page.evaluate(() => window.bench.run("continue"));
		await page.waitForFunction(() => Boolean(window.bench.ghost()));
		frames.push(["Continue in my voice", await page.screenshot()]);
	}
	await page.evaluate(() => (window.bench.settings(), void (document.body.className = "theme-light")));
	frames.push(["Settings", await page.screenshot()]);
	proxy.close();
	await strip(page, frames, "phone.png", 4);
	await page.context().close();
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
	const pane = async (title: string) => frames.push([title, await paneOf(page)]);
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

/** The note's pane, down to the end of what it shows. */
async function paneOf(page: Page): Promise<Buffer> {
	const { width, bottom } = await page.evaluate(() => {
		const [pane, text] = [document.querySelector("#pane"), document.querySelector("#note .cm-content")];
		return { width: pane?.getBoundingClientRect().width ?? 0, bottom: text?.getBoundingClientRect().bottom ?? 0 };
	});
	return page.screenshot({ clip: { x: 0, y: 0, width, height: Math.ceil(bottom) + 20 } });
}

async function strip(page: Page, frames: readonly [string, Buffer][], name = "strip.png", columns = 2): Promise<void> {
	const widest = Math.max(...frames.map(([, image]) => PNG.sync.read(image).width));
	const cell = ([title, image]: [string, Buffer]) => {
		const share = (100 * PNG.sync.read(image).width) / widest; // all at one scale
		return `<figure><figcaption>${title}</figcaption><img style="width:${share}%" src="data:image/png;base64,${image.toString("base64")}"></figure>`;
	};
	const cells = frames.map(cell);
	await page.setViewportSize({ width: 1120, height: 500 });
	await page.setContent(`<!doctype html><meta name="viewport" content="width=device-width"><style>body{margin:0;padding:12px;display:grid;grid-template-columns:repeat(${columns},1fr);grid-auto-rows:max-content;gap:12px;align-items:start;font:14px "DejaVu Sans",sans-serif;background:#fff}
		figure{margin:0;border:1px solid #ddd;border-radius:6px;overflow:hidden}figcaption{padding:6px 12px;background:#f6f6f6;color:#444}img{display:block}</style>${cells.join("")}`);
	await page.screenshot({ path: join(FOLDER, name), fullPage: true });
}
