// The page in headless Chromium: the installed main.js, a thin stand-in for obsidian, an editor.
import { createServer } from "node:http";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { AddressInfo } from "node:net";
import { build } from "esbuild";
import { chromium, type Browser, type BrowserServer, type Locator, type Page } from "playwright-core";
import type { Bench } from "./page/bench.ts";
import { installed, type Stage } from "./stage.ts";

declare global {
	interface Window {
		bench: Bench;
	}
}

const PAGE = join(import.meta.dirname, "page");
const PLACES = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome", "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome", "C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe"];

/** The browser to use; null when this machine has none. */
export function browserPath(): string | null {
	return [process.env["CHROMIUM"], ...PLACES].find((path) => path && existsSync(path)) ?? null;
}

export interface Served {
	origin: string;
	/** Whose installed plugin is served. */
	vault: string;
	close(): Promise<unknown>;
}

/** Serve the page, on a port of its own. */
export async function servePage(): Promise<Served> {
	const bundle = await build({ entryPoints: [join(PAGE, "bench.ts")], bundle: true, minify: true, write: false, format: "iife", target: "es2022" });
	const files: Record<string, [string, () => string | Uint8Array]> = {
		"/": ["text/html", () => readFileSync(join(PAGE, "index.html"))],
		"/bench.js": ["text/javascript", () => bundle.outputFiles[0]?.contents ?? ""],
		"/main.js": ["text/javascript", () => installed(served, "main.js")],
		"/manifest.json": ["application/json", () => installed(served, "manifest.json")],
		"/styles.css": ["text/css", () => installed(served, "styles.css")],
	};
	const server = createServer((request, response) => {
		const file = files[request.url ?? ""];
		response.writeHead(file ? 200 : 404, { "Content-Type": `${file?.[0] ?? "text/plain"}; charset=utf-8` });
		response.end(file?.[1]() ?? "");
	});
	await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
	const { port } = server.address() as AddressInfo;
	const close = () => {
		server.closeAllConnections();
		return new Promise((resolve) => server.close(resolve));
	};
	const served: Served = { origin: `http://127.0.0.1:${port}`, vault: "", close };
	return served;
}

export function startBrowser(path: string): Promise<BrowserServer> {
	const args = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"];
	return chromium.launchServer({ executablePath: path, headless: true, args });
}

export class Pages {
	private constructor(
		private readonly browser: Browser,
		readonly origin: string,
	) {}

	/** By the suite's one browser. */
	static async open({ browser, origin }: Stage): Promise<Pages> {
		return new Pages(await chromium.connect(browser), origin);
	}

	/** A fresh page with the plugin loaded; every error of the page fails the test that reads them. */
	async load(scale = 1, before: () => void = () => undefined): Promise<{ page: Page; errors: string[]; requests: string[] }> {
		const context = await this.browser.newContext({ viewport: { width: 1120, height: 640 }, deviceScaleFactor: scale });
		const page = await context.newPage();
		const [errors, requests]: string[][] = [[], []];
		page.on("pageerror", (error) => errors?.push(String(error)));
		page.on("console", (message) => void (message.type() === "error" && /VaultGPT/.test(message.text()) && errors?.push(message.text())));
		page.on("request", (request) => requests?.push(request.url()));
		await page.addInitScript(before);
		await page.goto(this.origin);
		await page.evaluate(() => window.bench.load());
		return { page, errors: errors ?? [], requests: requests ?? [] };
	}

	async close(): Promise<void> {
		await this.browser.close();
	}
}

/** A row of the settings by its name. */
export function setting(page: Page, name: string): Locator {
	return page.locator(".setting-item", { has: page.locator(".setting-item-name", { hasText: new RegExp(`^${name}$`) }) });
}

/** Type the daemon's address and token into the plugin's own settings, as a person would. */
export async function pair(page: Page, address: string, token: string): Promise<void> {
	await page.evaluate(() => window.bench.settings());
	const item = (name: string) => setting(page, name);
	await item("Address").locator("input").fill(address);
	await item("Token").locator("input").fill(token);
	await item("Connection").locator("button").click();
	await page.evaluate(() => document.querySelector("#settings")?.replaceChildren());
}
