// The page of one's voice: opened by `vaultgpt open`'s link, served by the real daemon, in a real browser.
import { chromium, type Browser, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from "vitest";
import { Daemon } from "./daemon.ts";
import { own, vaultgpt } from "./stage.ts";

const stage = own(inject("stages"));
const browser = inject("browser");
const PROMPT = "Last night I <img src=x onerror='document.title=1'>";

describe.runIf(browser)("the page of one's voice", () => {
	let daemon: Daemon;
	let chrome: Browser;
	let page: Page;
	const errors: string[] = [];
	const elsewhere: string[] = [];

	beforeAll(async () => {
		daemon = await Daemon.of(stage);
		chrome = await chromium.connect(stage.browser);
		page = await visitor();
	});

	afterAll(async () => {
		await chrome?.close();
	});

	afterEach(() => {
		expect([errors, elsewhere]).toEqual([[], []]);
	});

	async function visitor(): Promise<Page> {
		const context = await chrome.newContext({ viewport: { width: 1000, height: 800 } });
		const made = await context.newPage();
		made.on("pageerror", (error) => errors.push(String(error)));
		made.on("console", (message) => void (/Content Security|Trusted/i.test(message.text()) && errors.push(message.text())));
		made.on("request", (request) => void (!request.url().startsWith(daemon.address) && !request.url().startsWith("data:") && elsewhere.push(request.url())));
		return made;
	}

	test("a link opens it once, to the report's own sentences; its cookie can't be read", async () => {
		const { url } = JSON.parse(await vaultgpt(stage.home, "open", stage.vault, "--json")) as { url: string };
		await page.goto(url);
		const { sentences } = (await daemon.get("/v1/report")) as { sentences: string[] };
		for (const sentence of sentences.slice(1).filter((line) => !line.startsWith("  "))) await page.getByText(sentence, { exact: true }).waitFor();
		await page.locator(".voice .badge").waitFor();
		await expect.poll(() => page.locator("#months td[data-heat='4']").count()).toBeGreaterThan(0);
		expect(page.url()).toBe(`${daemon.address}/`);
		await expect.poll(() => page.evaluate(() => document.cookie)).toBe("");
		expect(await page.evaluate(async () => (await fetch("/v1/status")).status)).toBe(401); // the cookie alone
		const other = await visitor();
		await other.goto(url);
		await other.getByText("run `vaultgpt open` again").waitFor();
		await other.goto(daemon.address);
		await other.getByText("Run `vaultgpt open`").waitFor();
		await other.context().close();
	});

	test("the box streams what the same seeded request answers, as text, says under what, and says it once", async () => {
		const body = { prompt: PROMPT, seed: 7, vaultgpt: { tags: ["dream"], length: "sentence" } };
		const [text = ""] = await daemon.texts(body);
		await page.fill("#text", PROMPT);
		await page.fill("#tags", "#dream");
		await page.selectOption("#length", "sentence");
		await page.fill("#seed", "7");
		await page.keyboard.press("Enter"); // no pointer is needed
		await page.waitForFunction((whole) => document.querySelector("#said")?.textContent === whole, text, { timeout: 60_000 });
		await expect.poll(() => page.locator("#written").textContent()).toBe(PROMPT + text);
		await expect.poll(() => page.locator("#label").textContent()).toMatch(/^Under #dream, as the voice learned (?:today|last night|yesterday)/);
		await expect.poll(() => page.title()).toBe("Your voice");
	});

	test("several are written at a time, under the strengths that were chosen", async () => {
		const asked = page.waitForRequest("**/v1/completions");
		await page.selectOption("#count", "2");
		await page.getByText("Strengths", { exact: true }).click();
		await page.fill("#tag-strength", "1.5");
		await page.getByRole("button", { name: "Write on" }).click();
		expect((await asked).postDataJSON()).toMatchObject({ n: 2, seed: 7, vaultgpt: { tags: ["dream"], tag_strength: 1.5 } });
		await page.waitForFunction(() => document.querySelector("#said")?.textContent?.includes("\n"), null, { timeout: 60_000 });
		await expect.poll(() => page.locator("#written blockquote").count()).toBe(2);
	});

	test("a round is asked for, watched, stopped where it is long, and its outcome said", async () => {
		await page.getByRole("button", { name: "Learn now" }).click();
		await page.locator("#bar").waitFor();
		const stop = page.getByRole("button", { name: "Stop learning" }); // nothing is new as a rule
		await stop.click({ timeout: 1000 }).catch(() => undefined);
		await page.waitForFunction(() => document.querySelector("#verdict")?.textContent, null, { timeout: 60_000 });
		await page.getByRole("button", { name: "Learn now" }).waitFor();
	});

	test("five pages are shown, alike in length; two are chosen, and the score is kept", async () => {
		await page.getByRole("button", { name: "Look for them" }).click();
		const { refrains } = (await daemon.get("/v1/refrains")) as { refrains: { text: string }[] };
		expect(refrains.length).toBeGreaterThan(0);
		for (const { text } of refrains) await page.locator(".turn", { hasText: text }).waitFor();
		await page.getByRole("button", { name: "Show five pages" }).click();
		const boxes = page.locator(".blind input");
		await boxes.nth(4).waitFor({ timeout: 60_000 });
		const lengths = await page.locator(".blind label > span").evaluateAll((all) => all.map((one) => one.lastChild?.textContent?.split(/\s+/).filter(Boolean).length ?? 0));
		expect(Math.max(...lengths) - Math.min(...lengths)).toBeLessThanOrEqual(1);
		await boxes.nth(0).press("Space");
		await boxes.nth(1).press("Space");
		await expect.poll(() => boxes.nth(2).isDisabled()).toBe(true);
		await page.getByRole("button", { name: "These two are mine" }).click();
		const right = await page.locator(".blind:has(.yours) input:checked").count();
		await expect.poll(() => page.locator(".blind .yours").count()).toBe(2);
		await page.getByText(`You found ${right} of your two.`).waitFor();
		await page.reload();
		await page.locator("#score", { hasText: `you found ${right} of 2` }).waitFor();
	});

	test("a month's surprises: its sentences least foretold, and those most the author's own", async () => {
		await page.getByLabel("Month", { exact: true }).selectOption({ index: 0 });
		const month = await page.getByLabel("Month", { exact: true }).inputValue();
		const { notes } = (await daemon.get(`/v1/month?month=${month}`)) as { notes: { text: string }[] };
		await page.getByRole("button", { name: "Look for surprises" }).press("Enter");
		await page.getByRole("heading", { name: "Most your own" }).waitFor({ timeout: 60_000 });
		const told = async (list: string) => page.locator(`#${list} li`).evaluateAll((rows) => rows.map((row) => [row.querySelector("q")?.textContent ?? "", row.querySelector("span")?.textContent ?? ""] as const));
		const [least, most] = [await told("least"), await told("most")];
		const gain = (said: string) => Number(/^(\d+) %/.exec(said)?.[1]) * (said.includes("less") ? 1 : -1);
		const gains = [...least, ...[...most].reverse()].map(([, said]) => gain(said));
		expect(gains).toEqual([...gains].sort((a, b) => a - b));
		expect(new Set([...least, ...most].map(([text]) => text)).size).toBe(least.length + most.length);
		for (const [text] of [...least, ...most]) expect(notes.some((note) => note.text.includes(text)), text).toBe(true);
	});

	test("a voice that another machine learned says where, and one learned here says nothing of it", async () => {
		type Told = { generations: { id: string; machine: string | null }[] };
		const { generations } = (await daemon.get("/v1/generations")) as Told;
		const newest = generations[0]?.id ?? "";
		const from = page.locator(".voice", { hasText: `${newest}.` }).locator(".quiet");
		await expect.poll(() => from.textContent()).toMatch(/ words? learned, .*(?:anew|before); /);
		await page.route("**/v1/generations", async (route) => {
			const answer = await route.fetch();
			const told = (await answer.json()) as Told;
			for (const voice of told.generations) voice.machine = voice.id === newest ? "<b>workbox" : null;
			await route.fulfill({ response: answer, json: told });
		});
		await page.reload();
		await expect.poll(() => from.textContent()).toContain(`, on <b>workbox; ${newest}.`);
		await page.unroute("**/v1/generations");
	});

	test("every control has a name, and the first key leads past the head", async () => {
		const nameless = await page.evaluate(() => [...document.querySelectorAll("input, select, textarea, button, progress")].filter((one) => !(one as HTMLInputElement).labels?.length && !one.textContent && !one.getAttribute("aria-label")).map((one) => one.id));
		expect(nameless).toEqual([]);
		await page.reload();
		await page.keyboard.press("Tab");
		await expect.poll(() => page.evaluate(() => document.activeElement?.textContent)).toBe("To the page");
		await page.setViewportSize({ width: 360, height: 700 });
		await expect.poll(() => page.evaluate(() => document.documentElement.scrollWidth)).toBe(360);
		// The curve is drawn anew for the width there is, so that its letters can be read.
		await page.waitForFunction(() => (document.querySelector("#curve text")?.getBoundingClientRect().height ?? 0) >= 10);
	});

	test("a daemon that does not answer is said in a sentence", async () => {
		await page.context().setOffline(true);
		await page.fill("#text", "Last night I");
		await page.getByRole("button", { name: "Write on" }).click();
		await page.locator("#refused", { hasText: "The mirror is not there" }).waitFor();
		await expect.poll(() => page.locator("#refused").textContent()).toContain("vaultgpt serve");
	});
});
