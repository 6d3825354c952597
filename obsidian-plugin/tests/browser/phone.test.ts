// The phone: the installed main.js in a page of a phone's size, with a finger for a pointer and no Node,
// whose requests are made outside of it, whole. Home is the real daemon behind an HTTPS proxy.
import jsQR from "jsqr";
import { chromium, type Browser, type Page } from "playwright-core";
import { PNG } from "pngjs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from "vitest";
import { Daemon } from "./daemon.ts";
import { followLink, openPhone } from "./phones.ts";
import { NAME, Proxy, type Asked } from "./proxy.ts";
import { own, vaultgpt } from "./stage.ts";
import { setting } from "./pages.ts";
import { brief, open } from "./visit.ts";

const stage = own(inject("stages"));
const browser = inject("browser");
const PATH = "Dreams/2021-06-19 Lanes.md";
const NOTE = "Last night I was in the pool and";
const WAIT = { timeout: 60_000 };

describe.runIf(browser)("the phone", () => {
	let chrome: Browser;
	let daemon: Daemon;
	let proxy: Proxy;
	let page: Page;
	let link = "";
	let errors: string[];
	let inside: string[];
	let outside: Asked[];

	const config = (key: string, value: string) => vaultgpt(stage.home, "config", key, value, "--vault", stage.vault);
	const doc = () => page.evaluate(() => window.bench.doc());
	const ghost = () => page.evaluate(() => window.bench.ghost());
	const button = (name: string) => page.locator(".vaultgpt-ghost-buttons").getByRole("button", { name, exact: true });

	beforeAll(async () => {
		[chrome, daemon] = await Promise.all([chromium.connect(stage.browser), Daemon.of(stage)]);
		proxy = await Proxy.open(daemon.port);
		await daemon.texts({ prompt: "I", max_tokens: 1 });
	});

	afterAll(async () => {
		await config("server.phone", "");
		proxy.close();
		await chrome?.close();
	});

	beforeEach(async () => {
		proxy.forwarded.length = 0;
		proxy.hold = Promise.resolve();
		proxy.target = daemon.port;
		await load();
	});

	afterEach(async () => {
		expect(errors).toEqual([]);
		expect(inside).toEqual([]); // nothing goes over the page's own network
		await page.context().close();
	});

	/** Obsidian on a phone, its windows drawn. */
	async function load(): Promise<void> {
		({ page, errors, inside, outside } = await openPhone(chrome, stage.origin, (what) => proxy.ask(what)));
	}

	const follow = (to: string) => followLink(page, to);

	/** Follow the code's link, and agree. */
	async function pair(): Promise<void> {
		await follow(link);
		await page.locator(".modal button", { hasText: "Agree" }).tap();
		await page.locator(`.vaultgpt-status[data-generation="${stage.generation}"]`).waitFor({ ...WAIT, state: "attached" });
		await brief(page);
	}

	/** Continue, and wait until the ghost is the whole text of the same request asked for at home. */
	async function proposed(): Promise<string> {
		await page.evaluate(() => window.bench.run("continue"));
		await page.waitForFunction(() => Boolean(window.bench.ghost()), null, WAIT);
		const [text = ""] = await daemon.texts((await page.evaluate(() => window.bench.lastRequest())) as object);
		expect(await ghost()).toBe(text);
		return text;
	}

	test("it loads without Node, asks nobody before it is paired, and says how to", async () => {
		expect(await page.evaluate(() => window.bench.required.filter((name) => !/^(?:obsidian$|@codemirror\/)/.test(name)))).toEqual([]);
		await open(page, PATH, NOTE);
		await page.keyboard.type(" then");
		await page.evaluate(() => window.bench.run("continue"));
		await page.locator(".notice", { hasText: "This phone is not paired" }).waitFor();
		expect(outside).toEqual([]);
		expect(await page.locator(".notice", { hasText: "hotkey" }).count()).toBe(0);
	});

	test("nobody is let in before the author names the address; then the page at home shows a code", async () => {
		expect((await proxy.ask({ url: `https://${proxy.name}/health`, method: "GET", headers: {} }))?.status).toBe(403);
		const home = await chrome.newPage();
		const { url } = JSON.parse(await vaultgpt(stage.home, "open", stage.vault, "--json")) as { url: string };
		await home.goto(url);
		await home.getByRole("button", { name: "Show the code" }).click();
		await home.locator("#pairing", { hasText: "No phone is let in" }).waitFor();
		await config("server.phone", proxy.name);
		await home.getByRole("button", { name: "Show the code" }).press("Enter");
		const drawn = home.getByRole("img", { name: "The code that pairs your phone" });
		const { data, width, height } = PNG.sync.read(await drawn.screenshot());
		link = jsQR(new Uint8ClampedArray(data), width, height)?.data ?? "";
		expect(link).toMatch(new RegExp(`^obsidian://vaultgpt\\?address=https%3A%2F%2F${NAME}%3A\\d+&token=[0-9a-f]{64}$`));
		expect(link).not.toContain(daemon.token);
		await home.getByRole("button", { name: "Hide the code" }).click();
		expect(await home.locator("#code").textContent()).not.toContain("ts.net");
		await home.context().close();
	});

	test("the code pairs when it is agreed to; a link to anything but an HTTPS name does not", async () => {
		for (const address of ["http://127.0.0.1:1", `http://${proxy.name}`, "https://127.0.0.1", `https://${proxy.name}/path`]) await follow(`obsidian://vaultgpt?${new URLSearchParams({ address, token: "5".repeat(64) })}`);
		await page.locator(".notice", { hasText: "names no HTTPS address" }).waitFor();
		expect(await page.locator(".modal").count()).toBe(0);
		await follow(link);
		await page.locator(".modal", { hasText: `Let the vault Notes write with the daemon at https://${proxy.name}?` }).waitFor();
		expect(outside).toEqual([]);
		await page.locator(".modal button", { hasText: "Agree" }).tap();
		await page.locator(`.vaultgpt-status[data-generation="${stage.generation}"]`).waitFor({ ...WAIT, state: "attached" });
		const token = new URL(link).searchParams.get("token") ?? "";
		expect(await page.evaluate(() => JSON.stringify(window.localStorage))).not.toContain(token);
		expect(await page.evaluate(() => window.bench.app.secrets.get("vaultgpt-token"))).toBe(token);
	});

	test("a continuation comes whole, is what home writes, and a finger takes it; one undo takes it back", async () => {
		await pair();
		await open(page, PATH, NOTE);
		const text = await proposed();
		expect(outside.filter(({ url }) => url.endsWith("/v1/completions")).map(({ body }) => JSON.parse(body ?? "{}") as { stream: boolean })).toMatchObject([{ stream: false }]);
		const box = await button("Take it").boundingBox();
		expect(Math.round(Math.min(box?.width ?? 0, box?.height ?? 0))).toBeGreaterThanOrEqual(44);
		await button("A word").tap();
		const word = (await doc()).slice(NOTE.length);
		expect(word.trim()).not.toBe("");
		expect(text.startsWith(word)).toBe(true);
		if (word !== text) await button("Take it").tap();
		expect(await doc()).toBe(NOTE + text);
		expect(await page.evaluate(() => document.activeElement?.classList.contains("cm-content"))).toBe(true);
		await expect.poll(() => page.evaluate(() => window.localStorage.getItem("vaultgpt-accepted")), WAIT).toBeNull(); // home has heard of it
		await page.evaluate(() => window.bench.undo());
		if (word !== text) await page.evaluate(() => window.bench.undo());
		expect(await doc()).toBe(NOTE);
	});

	test("another one is shown by a finger; one that was dismissed while home wrote never comes", async () => {
		await pair();
		await page.evaluate(() => window.bench.wish({ alternatives: 2 }));
		await open(page, PATH, NOTE);
		await proposed();
		const texts = await daemon.texts((await page.evaluate(() => window.bench.lastRequest())) as object);
		await button("Another").tap();
		expect(await ghost()).toBe(texts[1]);
		await button("No").tap();
		expect(await ghost()).toBeNull();
		let go = () => undefined as void;
		proxy.hold = new Promise<void>((resolve) => (go = resolve));
		await page.evaluate(() => window.bench.run("again"));
		await button("No").tap();
		go();
		await expect.poll(() => proxy.forwarded.length).toBeGreaterThan(0);
		await page.evaluate(() => window.bench.run("continue"));
		await page.waitForFunction(() => Boolean(window.bench.ghost()), null, WAIT);
		expect([await ghost()]).toEqual((await daemon.texts((await page.evaluate(() => window.bench.lastRequest())) as object)).slice(0, 1));
		expect(await doc()).toBe(NOTE);
	});

	test("the word that a phone's keyboard still composes is in the note before home is asked", async () => {
		await pair();
		await open(page, PATH, `${NOTE} `);
		const client = await page.context().newCDPSession(page);
		await client.send("Input.imeSetComposition", { text: "she", selectionStart: 3, selectionEnd: 3 });
		const text = await proposed();
		const { vaultgpt: asked } = (await page.evaluate(() => window.bench.lastRequest())) as { vaultgpt: { note: { text: string } } };
		expect(asked.note.text).toBe(`${NOTE} she`);
		await button("Take it").tap();
		expect(await doc()).toBe(`${NOTE} she${text}`);
	});

	test("pauses send nothing, whatever is set for the desktop, and the settings are a phone's", async () => {
		await pair();
		await page.evaluate(() => window.bench.wish({ asYouType: true, readAhead: true }));
		await open(page, PATH, NOTE);
		await proposed();
		await button("No").tap();
		const before = outside.length;
		await page.clock.install();
		await page.keyboard.type(" was");
		await page.clock.runFor(5_000);
		expect(outside.length).toBe(before);
		await page.evaluate(() => window.bench.settings());
		expect(await page.locator("#settings .setting-item-heading").allTextContents()).toEqual(["The computer at home", "Writing", "Looks"]);
		await setting(page, "Address").locator("input").fill("http://127.0.0.1:8123");
		await setting(page, "Address").getByRole("alert").filter({ hasText: "no HTTPS address" }).waitFor();
	});

	test("what happens at home is seen when the app is seen again", async () => {
		await pair();
		const before = proxy.forwarded.length;
		await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
		await expect.poll(() => proxy.forwarded.slice(before)).toContain("GET /v1/status");
	});

	test("who answers at that address without the token is told nothing, and a sentence says so", async () => {
		await pair();
		const heard: string[] = [];
		const stranger: Server = createServer((request, response) => {
			heard.push(`${request.url} ${JSON.stringify(request.headers)}`);
			response.end(JSON.stringify({ ok: true, proof: "5".repeat(64) }));
		});
		await new Promise<void>((resolve) => stranger.listen(0, "127.0.0.1", resolve));
		proxy.target = (stranger.address() as AddressInfo).port;
		await open(page, PATH, NOTE);
		await page.evaluate(() => window.bench.run("continue"));
		await page.locator(".notice", { hasText: "is not the daemon that this phone was paired with" }).waitFor();
		expect(await ghost()).toBeNull();
		expect(heard.join("\n")).toMatch(/^\/health\?challenge=/);
		expect(heard.join("\n")).not.toMatch(/authorization|pool/i);
		stranger.closeAllConnections();
		stranger.close();
	});

	test("a daemon that was started anew knows the phone still; one that is away, or lets none in, is said", async () => {
		await pair();
		await open(page, PATH, NOTE);
		const { port } = daemon;
		await daemon.kill("SIGKILL");
		await page.evaluate(() => window.bench.run("continue"));
		await page.locator(".notice", { hasText: "is not the daemon" }).waitFor();
		const at = proxy.name;
		proxy.close();
		await page.evaluate(() => window.bench.run("continue"));
		await page.locator(".notice", { hasText: "Nothing answers at" }).waitFor();
		daemon = await Daemon.start(stage, port);
		proxy = await Proxy.open(port, Number(at.split(":")[1]));
		await page.evaluate(() => document.querySelector("#notices")?.replaceChildren());
		await page.evaluate(() => window.bench.settings());
		await setting(page, "Connection").locator("button", { hasText: "Look again" }).tap();
		await setting(page, "Connection").locator(".setting-item-description", { hasText: "The daemon is running" }).waitFor(WAIT);
		await vaultgpt(stage.home, "token", stage.vault, "--rotate");
		await page.evaluate(() => window.bench.run("continue"));
		await page.locator(".notice", { hasText: "lets it in no more" }).waitFor();
	});
});
