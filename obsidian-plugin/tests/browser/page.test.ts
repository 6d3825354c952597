// The installed main.js in a real browser, with a real editor and the real daemon. No HTTP double.
import { cpSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from "vitest";
import { Daemon } from "./daemon.ts";
import { pair, type Pages } from "./pages.ts";
import { REPOSITORY, own } from "./stage.ts";
import { arrive, enter, writes } from "./visit.ts";

const NOTE = "---\ntags: [dream]\ndate: 2021-06-19\n---\nLast night I was in the pool and";
const PATH = "Dreams/2021-06-19 Lanes.md";
const stage = own(inject("stages"));
const browser = inject("browser");

describe.runIf(browser)("in the browser", () => {
	let pages: Pages;
	let daemon: Daemon;
	let page: Page;
	let errors: string[];
	let requests: string[];

	beforeAll(async () => {
		({ pages, daemon } = await enter(stage));
	});

	afterAll(() => pages?.close());

	beforeEach(async () => {
		({ page, errors, requests } = await pages.load());
	});

	afterEach(async () => {
		expect(errors).toEqual([]);
		await page.context().close();
	});

	/** A paired plugin, online, with a note open. */
	async function begin(marked = NOTE, length = "sentence"): Promise<void> {
		await arrive(page, daemon);
		await page.evaluate((wish) => window.bench.wish({ length: wish }), length);
		await page.evaluate(([path, text]) => window.bench.open(path ?? "", text ?? ""), [PATH, marked]);
	}

	const status = (text: string) => page.locator(".vaultgpt-status", { hasText: text }).waitFor({ timeout: 60_000 });
	const doc = () => page.evaluate(() => window.bench.doc());
	const ghost = () => page.evaluate(() => window.bench.ghost());
	const lastRequest = () => page.evaluate(() => window.bench.lastRequest()) as Promise<{ n: number; vaultgpt: { note: { text: string; cursor: number } } }>;

	/** The ghost's whole text once the daemon has finished it. */
	async function finished(): Promise<string[]> {
		const texts = await daemon.texts(await lastRequest());
		await page.waitForFunction((text) => window.bench.ghost() === text, texts[0], { timeout: 60_000 });
		return texts;
	}

	async function proposed(): Promise<string> {
		await page.keyboard.press("Control+;");
		await page.waitForFunction(() => Boolean(window.bench.ghost()), null, { timeout: 60_000 });
		return (await ghost()) ?? "";
	}

	test("nothing goes over the network before the layout stands; then a hotkey is offered", async () => {
		await page.evaluate(([path, text]) => window.bench.open(path ?? "", text ?? ""), [PATH, NOTE]);
		await page.keyboard.type("typed");
		await expect.poll(() => page.locator(".notice").count()).toBe(0);
		expect(requests.filter((url) => !url.startsWith(pages.origin))).toEqual([]);
		await page.evaluate(() => window.bench.ready());
		await page.locator(".notice", { hasText: "No hotkey is set yet" }).waitFor();
	});

	test("the status bar shows what /v1/status says; hovering tells the voice", async () => {
		await begin();
		const { active } = await daemon.get("/v1/status");
		await expect.poll(() => page.locator(".vaultgpt-status").getAttribute("data-generation")).toBe(active);
		await expect.poll(() => page.locator(".vaultgpt-status").textContent()).toMatch(/^learned (?:last night|today|yesterday|on)/);
		const told = () => page.locator(".vaultgpt-status").getAttribute("aria-label");
		await expect.poll(told, { timeout: 20_000 }).toMatch(/This note: as #dream · June 2021 · voice of (?:today|last night)/);
	});

	test("the ghost equals the same seeded /v1/completions, and the document has nothing of it", async () => {
		await begin();
		await proposed();
		const texts = await finished();
		await expect.poll(() => doc()).toBe(NOTE);
		expect((await lastRequest()).vaultgpt.note).toMatchObject({ path: PATH, text: NOTE, cursor: NOTE.length });
		await expect.poll(() => page.evaluate(() => window.bench.part("voice"))).toMatch(/^as #dream · June 2021 · voice of (?:today|last night)$/);
		await page.keyboard.press("Tab");
		await expect.poll(() => doc()).toBe(NOTE + (texts[0] ?? ""));
		await page.keyboard.press("Control+z");
		await expect.poll(() => doc()).toBe(NOTE);
	});

	test("typed words, then a continuation, then one undo leaves the words", async () => {
		await begin(`${NOTE}|`);
		await page.keyboard.type(" then she");
		await proposed();
		const [text] = await finished();
		await page.keyboard.press("Tab");
		await expect.poll(() => doc()).toBe(`${NOTE} then she${text}`);
		await page.keyboard.press("Control+z");
		await expect.poll(() => doc()).toBe(`${NOTE} then she`);
	});

	test("alternatives are cycled, part of one is taken, and its first letters can be typed", async () => {
		await begin();
		await proposed();
		const texts = await finished();
		expect(texts).toHaveLength(3);
		await page.keyboard.press("Control+ArrowDown");
		await expect.poll(() => ghost()).toBe(texts[1]);
		await expect.poll(() => page.evaluate(() => window.bench.part("counter"))).toBe("2/3");
		await page.keyboard.press("Control+ArrowRight");
		const word = (await doc()).slice(NOTE.length);
		expect(word.trim()).not.toBe("");
		expect(texts[1]?.startsWith(word)).toBe(true);
		const rest = (await ghost()) ?? "";
		expect(word + rest).toBe(texts[1]);
		if (/^ ?[\x20-\x7e]/.test(rest)) {
			await page.keyboard.type(rest.slice(0, 2));
			await expect.poll(() => ghost()).toBe(rest.slice(2));
			await page.keyboard.press("Backspace");
			await expect.poll(() => ghost()).toBe(rest.slice(1));
		}
	});

	test("Escape takes the ghost down and the daemon really stops", async () => {
		await begin();
		const before = await daemon.metric("vaultgpt_cancelled_total");
		await page.evaluate(() => window.bench.wish({ length: "page", alternatives: 4 }));
		await proposed();
		await page.keyboard.press("Escape");
		await expect.poll(() => ghost()).toBeNull();
		await expect.poll(() => doc()).toBe(NOTE);
		await expect.poll(() => daemon.metric("vaultgpt_cancelled_total"), { timeout: 20_000 }).toBe(before + 1);
	});

	test("a daemon killed mid-stream leaves what came, says so; started anew it has another token, and what to do is said", async () => {
		await begin();
		await page.evaluate(() => window.bench.wish({ length: "page", alternatives: 1 }));
		await proposed();
		await daemon.kill("SIGKILL");
		await page.locator(".notice", { hasText: "can still be taken" }).waitFor();
		await status("mirror off");
		const left = (await ghost()) ?? "";
		expect(left).not.toBe("");
		await page.keyboard.press("Tab");
		await expect.poll(() => doc()).toBe(NOTE + left);
		const kept = () => page.evaluate(() => window.localStorage.getItem("vaultgpt-accepted") ?? "");
		expect(await kept()).toContain(JSON.stringify(left).slice(1, -1).replace(/\\/g, "\\"));
		daemon = await Daemon.start(stage, daemon.port); // its token is a new one
		await page.evaluate(() => window.bench.editor?.focus());
		await page.keyboard.press("Control+;");
		await page.locator(".notice", { hasText: "paste what vaultgpt token prints" }).waitFor();
		await pair(page, daemon.address, daemon.token);
		await writes(page, stage.generation);
		await expect.poll(kept, { timeout: 20_000 }).toBe("");
		await page.evaluate(() => window.bench.editor?.focus());
		await proposed();
	});

	test("an absent daemon is one sentence with the command", async () => {
		await pair(page, "127.0.0.1:9", daemon.token);
		await page.evaluate(() => window.bench.ready());
		await status("mirror off");
		await page.evaluate(([path, text]) => window.bench.open(path ?? "", text ?? ""), [PATH, NOTE]);
		await page.keyboard.press("Control+;");
		await page.locator(".notice", { hasText: "vaultgpt serve" }).first().waitFor();
		await expect.poll(() => ghost()).toBeNull();
	});

	test("a note that says vaultgpt: false is left alone, and overrides are obeyed", async () => {
		await begin("---\nvaultgpt: false\n---\nMine.");
		await page.keyboard.press("Control+;");
		await page.locator(".notice", { hasText: "vaultgpt: false" }).waitFor();
		await page.evaluate(([path, text]) => window.bench.open(path ?? "", text ?? ""), [PATH, "---\nvaultgpt: {tags: [poetry], date: 2022, length: sentence}\n---\nThe sea"]);
		await proposed();
		await expect.poll(() => page.evaluate(() => window.bench.part("voice"))).toMatch(/^as #poetry · 2022 · voice of (?:today|last night)$/);
	});

	test("a link pairs only when it is agreed to, and the token lies in the keychain alone", async () => {
		await page.evaluate(() => window.bench.ready());
		const link = (address: string) =>
			page.evaluate(([place, secret]) => window.bench.plugin?.links.get("vaultgpt")?.({ action: "vaultgpt", address: place ?? "", token: secret ?? "" }), [address, daemon.token]);
		await link("http://example.org");
		await page.locator(".notice", { hasText: "no daemon on this computer" }).waitFor();
		await link(daemon.address);
		await status("mirror off");
		await page.locator(".modal button", { hasText: "Agree" }).click();
		await writes(page, stage.generation);
		expect(await page.evaluate(() => JSON.stringify(window.localStorage))).not.toContain(daemon.token);
		await expect.poll(() => page.evaluate(() => window.bench.app.secrets.get("vaultgpt-token"))).toBe(daemon.token);
	});

	test("the date of a daily note in the vault's own format is the daemon's, scanned or not", async () => {
		const periodic = join(stage.vault, ".obsidian", "plugins", "periodic-notes");
		const path = "Months/Log of March 2019.md";
		for (const folder of [periodic, join(stage.vault, "Months")]) mkdirSync(folder, { recursive: true });
		writeFileSync(join(periodic, "data.json"), JSON.stringify({ monthly: { enabled: true, folder: "Months", format: "[Log of] MMMM YYYY" } }));
		writeFileSync(join(stage.vault, path), "It rained. ");
		await begin();
		await expect.poll(() => daemon.get(`/v1/notes?path=${encodeURIComponent(path)}`)).toMatchObject({ path_date: "2019-03" });
		await page.evaluate(([at, text]) => window.bench.open(at ?? "", text ?? ""), [path, "It rained. "]);
		const voice = /as March 2019 · voice of (?:today|last night)/;
		await expect.poll(() => page.locator(".vaultgpt-status").getAttribute("aria-label"), { timeout: 20_000 }).toMatch(voice);
		await proposed();
		await expect.poll(() => lastRequest()).toMatchObject({ vaultgpt: { note: { path } } });
		await expect.poll(() => page.evaluate(() => window.bench.part("voice"))).toMatch(voice);
	});

	test("a pause lets the daemon read ahead, once the mirror was used", async () => {
		await begin();
		const warmed = () => requests.filter((url) => url.endsWith("/v1/warm")).length;
		await page.keyboard.type(" so");
		await proposed();
		expect(warmed()).toBe(0);
		await page.keyboard.press("Escape");
		await page.keyboard.type(" then");
		await expect.poll(warmed, { timeout: 10_000 }).toBe(1);
	});

	test("a round shows its progress in the status bar, and can be stopped", async () => {
		await begin();
		cpSync(join(REPOSITORY, "examples", "vault", "Journal", "2021"), join(stage.vault, "Journal", "2021"), { recursive: true, preserveTimestamps: true });
		await status("notes waiting"); // the daemon noticed, and told
		await page.evaluate(() => window.bench.run("open-history"));
		await page.locator("#side button", { hasText: "Learn now" }).click();
		await page.locator(".vaultgpt-status", { hasText: /^(reading|learning|measuring)… \d+ %$/ }).waitFor({ timeout: 60_000 });
		await page.locator("#side button", { hasText: "Stop learning" }).click();
		await page.locator(".vaultgpt-status", { hasText: "learned" }).waitFor({ timeout: 60_000 });
		await page.locator("#side button", { hasText: "Learn now" }).waitFor({ timeout: 60_000 });
	});

	test("an input method's composition hides the ghost, and what it agrees with is consumed", async () => {
		await begin();
		await proposed();
		const [text = ""] = await finished();
		const client = await page.context().newCDPSession(page);
		const word = /^\s*\S/.exec(text)?.[0] ?? "";
		await client.send("Input.imeSetComposition", { text: word, selectionStart: word.length, selectionEnd: word.length });
		await page.waitForFunction(() => document.querySelector(".vaultgpt-ghost") === null);
		await client.send("Input.insertText", { text: word });
		await page.waitForFunction((rest) => window.bench.ghost() === rest, text.slice(word.length));
		await expect.poll(() => doc()).toBe(NOTE + word);
		await client.send("Input.imeSetComposition", { text: "に", selectionStart: 1, selectionEnd: 1 });
		await client.send("Input.insertText", { text: "に" });
		await page.waitForFunction(() => window.bench.ghost() === null);
	});

	test("continue as: tags and a year are picked among the vault's own", async () => {
		await begin("Plain |text");
		await page.evaluate(() => window.bench.run("continue-as"));
		await page.locator(".modal button", { hasText: "#poetry" }).click();
		await page.locator(".modal select").selectOption("2022");
		await page.locator(".modal button", { hasText: "Continue" }).click();
		await page.waitForFunction(() => Boolean(window.bench.ghost()));
		await expect.poll(() => lastRequest()).toMatchObject({ vaultgpt: { tags: ["poetry"], date: "2022", note: { text: "Plain text", cursor: 6 } } });
		await expect.poll(() => page.evaluate(() => window.bench.part("voice"))).toMatch(/^as #poetry · 2022 · voice of (?:today|last night)$/);
	});

	test("a question and a dream are asked for under their own form and tag", async () => {
		await begin("What |");
		await page.evaluate(() => window.bench.run("dream"));
		await page.waitForFunction(() => Boolean(window.bench.ghost()));
		await expect.poll(() => lastRequest()).toMatchObject({ vaultgpt: { tags: ["dream"] } });
		await page.keyboard.press("Escape");
		await page.evaluate(() => window.bench.run("ask"));
		await page.waitForFunction(() => Boolean(window.bench.ghost()), null, { timeout: 60_000 });
		await expect.poll(() => lastRequest()).toMatchObject({ vaultgpt: { form: "question" } });
	});

	test("the side view tells generations, verdict, report and why this note", async () => {
		await begin();
		await page.evaluate(() => window.bench.run("open-history"));
		const side = page.locator("#side");
		await side.locator(`.vaultgpt-generation.is-active[data-generation="${stage.generation}"]`).waitFor({ timeout: 30_000 });
		await side.getByText("This note is learned from").waitFor();
		await side.getByText("Voices", { exact: true }).waitFor();
		await expect.poll(() => side.locator("button", { hasText: "Learn now" }).count()).toBe(1);
	});

	test("everything registered is unregistered", async () => {
		await begin();
		await proposed();
		await page.evaluate(() => window.bench.plugin?.unload());
		await expect.poll(() => page.evaluate(() => window.bench.plugin?.commands.size)).toBe(0);
		await expect.poll(() => page.locator(".vaultgpt-status").count()).toBe(0);
	});
});
