// As you type: the installed main.js, real keys, the real daemon, which is told how sure it must be.
import type { Page } from "playwright-core";
import { afterAll, beforeEach, describe, expect, inject, test } from "vitest";
import type { Daemon } from "./daemon.ts";
import { setting } from "./pages.ts";
import { own } from "./stage.ts";
import { open, visiting } from "./visit.ts";

const stage = own(inject("stages"));
const browser = inject("browser");
const PATH = "Dreams/2021-06-19 Lanes.md";
const NOTE = "Last night I was in the pool and nobody had drained it. The water";
/** More than the pause (ms) after which it asks. */
const LONGER_MS = 600;
/** More than the pause (ms) after five dismissals. */
const SLOW_MS = 5_000;
const asks = (call: { url(): string }) => call.url().endsWith("/v1/completions");

describe.runIf(browser)("as you type", () => {
	let page: Page;
	let daemon: Daemon;
	let asked: { sent: number; calledOff: number };
	const visit = visiting(stage);

	const sure = (value: number) => daemon.post("/v1/options", { key: "mirror.sure", value });
	const doc = () => page.evaluate(() => window.bench.doc());
	const ghost = () => page.evaluate(() => window.bench.ghost());
	const on = () => page.evaluate(() => window.bench.wish({ asYouType: true, readAhead: false }));
	const pause = () => page.waitForTimeout(LONGER_MS);
	/** From now on time passes only in `passes`, so that no key comes too late on a busy machine. */
	const halt = () => page.clock.install().then(() => page.clock.pauseAt(Date.now() + LONGER_MS));
	const passes = () => page.clock.runFor(LONGER_MS);

	/** Nothing was asked so far; after words typed at the end of the note it is, once. */
	async function asksOnlyNow(): Promise<void> {
		expect(asked.sent).toBe(0);
		await open(page, PATH, NOTE);
		await page.keyboard.type(" was");
		await passes();
		await expect.poll(() => asked.sent).toBe(1);
	}

	/** Keep the mirror busy until the function that comes back is called. */
	async function busy(): Promise<() => Promise<void>> {
		const before = await daemon.metric("vaultgpt_writing");
		const stopper = new AbortController();
		const headers = { Authorization: `Bearer ${daemon.token}`, "Content-Type": "application/json" };
		const body = JSON.stringify({ prompt: "I", max_tokens: 2_000, n: 4, vaultgpt: { length: "page" } });
		const writing = fetch(`${daemon.address}/v1/completions`, { method: "POST", headers, body, signal: stopper.signal }).catch(() => null);
		await expect.poll(() => daemon.metric("vaultgpt_writing"), { interval: 10 }).toBe(before + 1);
		return async () => {
			stopper.abort();
			await writing;
		};
	}

	beforeEach(async () => {
		({ page, daemon } = visit);
		const counts = (asked = { sent: 0, calledOff: 0 });
		page.on("request", (request) => (counts.sent += asks(request) && request.method() === "POST" ? 1 : 0));
		page.on("requestfailed", (request) => (counts.calledOff += asks(request) ? 1 : 0));
		await sure(0.001);
	});

	afterAll(() => daemon.post("/v1/options", { key: "mirror.sure", value: 0.6 }));

	test("it is off until its one switch is turned on; then a few words are shown after a pause, and taken", async () => {
		await open(page, PATH, NOTE);
		await page.keyboard.type(" was");
		await pause();
		expect(asked.sent).toBe(0);
		await page.evaluate(() => window.bench.settings());
		await setting(page, "As you type").locator("input").check();
		await page.evaluate(() => {
			document.querySelector("#settings")?.replaceChildren();
			window.bench.editor?.focus();
		});
		const sent = page.waitForRequest(asks);
		await page.keyboard.type(" warm");
		const body = (await sent).postDataJSON() as { n: number; temperature: number; vaultgpt: { length: string } };
		expect(body).toMatchObject({ n: 1, temperature: 0, vaultgpt: { length: "clause", note: { path: PATH } } });
		await page.waitForFunction(() => Boolean(window.bench.ghost()));
		const text = (await ghost()) ?? "";
		expect([text]).toEqual(await daemon.texts(body));
		expect(text.trim().split(/\s+/).length).toBeLessThanOrEqual(12);
		expect(text).not.toMatch(/[,;:.!?]\s/);
		await expect.poll(() => doc()).toBe(`${NOTE} was warm`);
		await page.keyboard.press("Tab");
		await expect.poll(() => doc()).toBe(`${NOTE} was warm${text}`);
		await page.keyboard.press("Control+z");
		await expect.poll(() => doc()).toBe(`${NOTE} was warm`);
		expect(asked.sent).toBe(1);
	});

	test("where the mirror is not sure nothing is shown and nothing is said", async () => {
		await sure(1);
		await on();
		await open(page, PATH, NOTE);
		const answered = page.waitForResponse((response) => asks(response) && response.request().method() === "POST");
		await page.keyboard.type(" was");
		await answered;
		await pause();
		await expect.poll(() => ghost()).toBeNull();
		await expect.poll(() => page.locator("#notices .notice", { hasNotText: "No hotkey is set" }).count()).toBe(0);
	});

	test("nothing is asked mid-line, in a heading, after a deletion, in a selection, while the cursor moves", async () => {
		await on();
		await halt();
		for (const [marked, keys] of [["It was ¦ cold", ["a"]], ["# The baths¦", ["s"]], [NOTE, ["a", "Backspace"]], [NOTE, ["a", "Shift+ArrowLeft"]], [NOTE, ["a", "ArrowLeft"]]] as const) {
			await open(page, PATH, marked);
			for (const key of keys) await page.keyboard.press(key);
			await passes();
		}
		await asksOnlyNow();
	});

	test("nor in Vim's normal mode, in reading view, or while an input method composes", async () => {
		await on();
		await halt();
		await open(page, PATH, NOTE);
		const client = await page.context().newCDPSession(page);
		await client.send("Input.imeSetComposition", { text: "に", selectionStart: 1, selectionEnd: 1 });
		await passes();
		await client.send("Input.imeSetComposition", { text: "", selectionStart: 0, selectionEnd: 0 });
		await page.evaluate(() => Object.assign(window.bench, { vim: true }));
		await open(page, PATH, NOTE);
		await page.keyboard.press("A");
		await page.keyboard.type(" wa");
		await page.keyboard.press("Escape");
		await passes();
		await page.evaluate(() => Object.assign(window.bench, { vim: false }));
		await open(page, PATH, NOTE);
		await page.keyboard.type(" wa");
		await page.evaluate(() => void Object.assign(window.bench.app.workspace.getActiveViewOfType() ?? {}, { mode: "preview" }));
		await passes();
		await asksOnlyNow();
	});

	test("a typed-on character calls the request off at once, and so does the hotkey, which wins", async () => {
		await on();
		await open(page, PATH, NOTE);
		const free = await busy();
		try {
			await page.keyboard.type(" was");
			await expect.poll(() => asked.sent).toBe(1);
			expect(asked.calledOff).toBe(0);
			await page.keyboard.type(" w");
			await expect.poll(() => asked.calledOff).toBe(1);
			await expect.poll(() => asked.sent).toBe(2);
			await page.keyboard.press("Control+;");
			await expect.poll(() => asked.calledOff).toBe(2);
		} finally {
			await free();
		}
		await page.waitForFunction(() => Boolean(window.bench.ghost()));
		await expect.poll(() => page.evaluate(() => window.bench.lastRequest())).toMatchObject({ n: 3, vaultgpt: { note: { length: "paragraph" } } });
		expect(asked.sent).toBe(3);
		await page.keyboard.press("Escape");
	});

	test("while the daemon is away nothing of it is sent, and nothing is said", async () => {
		await on();
		await page.evaluate(() => window.bench.app.saveLocalStorage("vaultgpt-address", "127.0.0.1:9"));
		await page.evaluate(() => (window.bench.plugin as unknown as { core: { reconnect(): void } }).core.reconnect());
		await page.locator(".vaultgpt-status", { hasText: "mirror off" }).waitFor();
		const said = await page.locator("#notices .notice").count();
		await open(page, PATH, NOTE);
		await page.keyboard.type(" was");
		await pause();
		expect(asked.sent).toBe(0);
		await expect.poll(() => page.locator("#notices .notice").count()).toBe(said);
	});

	test("five dismissals in a row make it wait longer", async () => {
		await on();
		for (let n = 0; n < 5; n++) {
			await open(page, PATH, NOTE);
			await page.keyboard.type(" was");
			await page.waitForFunction(() => Boolean(window.bench.ghost()));
			await page.keyboard.press("Escape");
		}
		await halt();
		await open(page, PATH, NOTE);
		await page.keyboard.type(" was");
		await passes();
		expect(asked.sent).toBe(5);
		await page.clock.runFor(SLOW_MS);
		await expect.poll(() => asked.sent).toBe(6);
	});
});
