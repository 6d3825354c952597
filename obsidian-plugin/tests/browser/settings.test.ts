// The settings as a person uses them, and what they do: keys, places, the daemon's own options, what
// another device wrote. The installed main.js, the real daemon.
import type { Page } from "playwright-core";
import { beforeEach, describe, expect, inject, test } from "vitest";
import type { Daemon } from "./daemon.ts";
import { setting } from "./pages.ts";
import { own } from "./stage.ts";
import { brief, open, propose, visiting, writes } from "./visit.ts";

const stage = own(inject("stages"));
const browser = inject("browser");
const PATH = "Dreams/2021-06-19 Lanes.md";

describe.runIf(browser)("the settings", () => {
	let page: Page;
	let daemon: Daemon;
	const visit = visiting(stage);

	beforeEach(async () => {
		({ page, daemon } = visit);
		await brief(page);
	});

	const show = () => page.evaluate(() => window.bench.settings());
	const hide = () => page.evaluate(() => {
		document.querySelector("#settings")?.replaceChildren();
		window.bench.editor?.focus();
	});
	const row = (name: string) => setting(page, name);
	const doc = () => page.evaluate(() => window.bench.doc());
	const option = async (key: string) => ((await daemon.get("/v1/options"))["options"] as { key: string; value: unknown }[]).find((each) => each.key === key)?.value;

	test("a key is changed by pressing it, and turned off; a taken one says so", async () => {
		await show();
		await row("Take all of it").locator("button").first().click();
		await page.keyboard.press("Control+j");
		await expect.poll(() => row("Take all of it").locator("button").first().textContent()).toBe("Ctrl j");
		await row("Take a word").locator("button").first().click();
		await page.keyboard.press("Control+j");
		await row("Take a word").getByRole("alert").filter({ hasText: "Take all of it" }).waitFor();
		await row("Dismiss").getByLabel("No key").click();
		await hide();
		await open(page, PATH, "Last night I was");
		const text = await propose(page, daemon);
		await page.keyboard.press("Escape");
		await expect.poll(() => page.evaluate(() => window.bench.ghost())).toBe(text);
		await page.keyboard.press("Control+j");
		await expect.poll(() => doc()).toBe(`Last night I was${text}`);
	});

	test("the daemon's options are drawn from what it tells, set there, and refused in their own row", async () => {
		const before = await option("mirror.temperature");
		await show();
		const input = row("Temperature").locator("input");
		await input.waitFor();
		await expect.poll(() => input.inputValue()).toBe(String(before));
		await input.fill("0.7");
		await input.blur();
		await expect.poll(() => option("mirror.temperature")).toBe(0.7);
		await input.fill("99");
		await input.blur();
		await row("Temperature").getByRole("alert").waitFor();
		await expect.poll(() => option("mirror.temperature")).toBe(0.7);
		await input.fill(String(before));
		await input.blur();
		await expect.poll(() => option("mirror.temperature")).toBe(before);
		await expect.poll(() => row("Temperature").locator(".vaultgpt-wrong").textContent()).toBe("");
		await row("Exclude").locator("input").waitFor();
	});

	test("the connection's row tells what is, as it changes; a bad address shows its error", async () => {
		await show();
		const told = row("Connection").locator(".setting-item-description");
		await told.filter({ hasText: "The daemon is running" }).waitFor();
		await row("Address").locator("input").fill("http://example.org");
		await row("Address").getByRole("alert").filter({ hasText: "no address on this computer" }).waitFor();
		await expect.poll(() => page.evaluate(() => window.bench.app.loadLocalStorage("vaultgpt-address"))).toBe(daemon.address);
		await row("Address").locator("input").fill("127.0.0.1:9");
		await told.filter({ hasText: "does not answer" }).waitFor();
		await expect.poll(() => row("Address").locator(".vaultgpt-wrong").textContent()).toBe("");
		await row("Address").locator("input").fill(daemon.address);
		await row("Connection").locator("button", { hasText: "Look again" }).click();
		await told.filter({ hasText: "The daemon is running" }).waitFor();
	});

	test("cleared, the address and the token are gone", async () => {
		await show();
		await row("Address").locator("input").fill("");
		await row("Token").locator("input").fill("");
		const kept = () => page.evaluate(() => [window.bench.app.loadLocalStorage("vaultgpt-address"), window.bench.app.secrets.get("vaultgpt-token") ?? ""]);
		await expect.poll(() => kept()).toEqual([null, ""]);
		await row("Connection").locator(".setting-item-description", { hasText: "address and token" }).waitFor();
	});

	test("what another device wrote is taken over and never overwritten by old values", async () => {
		await page.evaluate(async () => {
			const { plugin } = window.bench;
			await plugin?.saveData({ length: "page", alternatives: 2, ofANewerVersion: 1 });
			await (plugin as unknown as { onExternalSettingsChange(): Promise<void> }).onExternalSettingsChange();
		});
		await show();
		await expect.poll(() => row("Length").locator("select").inputValue()).toBe("page");
		await page.evaluate(() => window.bench.plugin?.saveData({ length: "sentence", alternatives: 1, ofANewerVersion: 2 }));
		await row("Show the voice").locator("input").uncheck();
		await expect.poll(() => page.evaluate(() => window.bench.plugin?.data)).toEqual({ length: "sentence", alternatives: 1, ofANewerVersion: 2, showVoice: false });
	});

	test("the ghost's style is a setting; menus carry the commands", async () => {
		await show();
		await row("Ghost").locator("select").selectOption("italic");
		await hide();
		await open(page, PATH, "Last night I was");
		await propose(page, daemon);
		await expect.poll(() => page.locator(".vaultgpt-ghost").evaluate((element) => getComputedStyle(element).fontStyle)).toBe("italic");
		await page.keyboard.press("Escape");
		await page.locator(".vaultgpt-status").click();
		await expect.poll(() => page.locator(".menu button").allTextContents()).toEqual(["Open the mirror", "Learn now", "Why is this note used or not?"]);
		await page.locator(".menu button", { hasText: "Open the mirror" }).click();
		await page.locator("#side h4").waitFor();
		const titles = await page.evaluate(() => {
			const { app, editor, obsidian } = window.bench;
			const [ofEditor, ofFile] = [new obsidian.Menu(), new obsidian.Menu()];
			app.workspace.trigger("editor-menu", ofEditor, { cm: editor });
			app.workspace.trigger("file-menu", ofFile, { path: "Dreams/2021-06-19 Lanes.md" });
			ofFile.items[0]?.run();
			return [ofEditor, ofFile].map(({ items }) => items.map(({ title }) => title));
		});
		expect(titles).toEqual([["Continue in my voice", "Continue as…"], ["Why is this note used or not?"]]);
		await page.locator(".notice", { hasText: "This note is" }).waitFor();
	});

	test("five presses with the daemon away are one notice, and Continue as says that it is away", async () => {
		await page.evaluate(() => window.bench.app.saveLocalStorage("vaultgpt-address", "127.0.0.1:9"));
		await open(page, PATH, "Last night I was");
		for (let n = 0; n < 5; n++) {
			await page.keyboard.press("Control+;");
			await page.waitForFunction(() => window.bench.ghost() === null && document.querySelectorAll("#notices .notice").length > 0);
		}
		await page.evaluate(() => window.bench.run("continue-as"));
		await page.waitForTimeout(200);
		await expect.poll(() => page.locator(".notice", { hasText: "does not answer" }).count()).toBe(1);
		await expect.poll(() => page.locator(".modal").count()).toBe(0);
	});

	test("several cursors, and the reading view, have a sentence each", async () => {
		await open(page, PATH, "One two three");
		await page.evaluate(() => {
			const { editor, state } = window.bench;
			editor?.dispatch({ selection: state.EditorSelection.create([state.EditorSelection.cursor(1), state.EditorSelection.cursor(5)]) });
			window.bench.run("continue");
		});
		await page.locator(".notice", { hasText: "There are 2 cursors" }).waitFor();
		await expect.poll(() => page.evaluate(() => window.bench.editor?.state.selection.ranges.length)).toBe(2);
		await page.evaluate(() => {
			const { view } = window.bench.app.workspace;
			if (view) view.mode = "preview";
			window.bench.run("continue");
		});
		await page.locator(".notice", { hasText: "reading view" }).waitFor();
	});

	test("again keeps the form of its own note", async () => {
		const asked = async () => ((await page.evaluate(() => window.bench.lastRequest())) as { vaultgpt: { form?: string } }).vaultgpt.form;
		await open(page, "A.md", "What ");
		await page.evaluate(() => window.bench.run("ask"));
		await page.waitForFunction(() => Boolean(window.bench.ghost()));
		await page.evaluate(() => window.bench.run("again"));
		await expect.poll(() => asked()).toBe("question");
		await open(page, "B.md", "It was ");
		await page.evaluate(() => window.bench.run("again"));
		await expect.poll(() => asked()).toBeUndefined();
		await writes(page, stage.generation);
	});

	test("a vault with another config folder is told about", async () => {
		page = await visit.anew();
		await page.evaluate(() => Object.assign(window.bench.app.vault, { configDir: ".config-of-mine" }));
		await page.evaluate(() => window.bench.ready());
		await page.locator(".notice", { hasText: ".config-of-mine" }).waitFor();
	});
});
