// The installed main.js in a page of a phone's size: a finger for a pointer, no Node, and a network that is
// outside of the page.
import type { Browser, Page } from "playwright-core";
import type { Asked } from "./proxy.ts";

export interface Phone {
	page: Page;
	errors: string[];
	/** What was asked over the page's own network, which a phone's plugin must not use. */
	inside: string[];
	outside: Asked[];
}

/** Obsidian on a phone, its windows drawn. `ask` is the phone's network. */
export async function openPhone(chrome: Browser, origin: string, ask: (what: Asked) => Promise<unknown>, scale = 1): Promise<Phone> {
	const context = await chrome.newContext({ viewport: { width: 390, height: 760 }, deviceScaleFactor: scale, hasTouch: true, isMobile: true });
	const phone: Phone = { page: await context.newPage(), errors: [], inside: [], outside: [] };
	const { page, errors, inside, outside } = phone;
	page.on("pageerror", (error) => errors.push(String(error)));
	page.on("console", (message) => void (message.type() === "error" && /VaultGPT/.test(message.text()) && errors.push(message.text())));
	page.on("request", (request) => void (!request.url().startsWith(origin) && inside.push(request.url())));
	await page.exposeFunction("outside", (what: Asked) => (outside.push(what), ask(what)));
	await page.addInitScript(() => void Object.assign(window, { isPhone: true }));
	await page.goto(origin);
	await page.evaluate(() => window.bench.load());
	await page.evaluate(() => window.bench.ready());
	return phone;
}

/** What the phone does with the link that it scanned. */
export async function followLink(page: Page, link: string): Promise<void> {
	const params = Object.fromEntries(new URL(link).searchParams);
	await page.evaluate((given) => window.bench.plugin?.links.get("vaultgpt")?.({ action: "vaultgpt", ...given }), params);
}
