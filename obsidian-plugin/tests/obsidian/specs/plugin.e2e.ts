import { $, browser, expect } from "@wdio/globals";
import { obsidianPage } from "wdio-obsidian-service";

const NOTE = "Dreams/2021-06-19 Lanes.md";

describe("VaultGPT in Obsidian", () => {
	it("is paired by itself and shows the active generation", async () => {
		await expect($(".vaultgpt-status")).toHaveText(expect.stringMatching(/^g\d{6}/));
	});

	it("continues a note, and one undo takes the continuation back", async () => {
		await obsidianPage.openFile(NOTE);
		const before = await obsidianPage.read(NOTE);
		await browser.executeObsidian(({ app, obsidian }) => {
			const editor = app.workspace.getActiveViewOfType(obsidian.MarkdownView)?.editor;
			editor?.setCursor(editor.lastLine(), editor.getLine(editor.lastLine()).length);
			editor?.focus();
		});
		await browser.executeObsidianCommand("vaultgpt:continue");
		await $(".vaultgpt-ghost:not(.is-waiting)").waitForExist({ timeout: 60_000 });
		await browser.keys("Tab");
		const text = () =>
			browser.executeObsidian(({ app, obsidian }) => app.workspace.getActiveViewOfType(obsidian.MarkdownView)?.editor.getValue() ?? "");
		expect((await text()).startsWith(before)).toBe(true);
		expect((await text()).length).toBeGreaterThan(before.length);
		await browser.executeObsidian(({ app, obsidian }) => app.workspace.getActiveViewOfType(obsidian.MarkdownView)?.editor.undo());
		expect(await text()).toBe(before);
	});

	it("Escape takes the ghost down in source mode and in Live Preview", async () => {
		for (const source of [true, false]) {
			await browser.executeObsidian(
				async ({ app, obsidian }, mode) => {
					const view = app.workspace.getActiveViewOfType(obsidian.MarkdownView);
					await view?.setState({ ...view.getState(), mode: "source", source: mode }, { history: false });
					view?.editor.focus();
				},
				source,
			);
			await browser.executeObsidianCommand("vaultgpt:continue");
			await $(".vaultgpt-ghost").waitForExist();
			await browser.keys("Escape");
			await $(".vaultgpt-ghost").waitForExist({ reverse: true });
		}
	});

	it("opens its side view and its settings", async () => {
		await browser.executeObsidianCommand("vaultgpt:open-history");
		await expect($(".vaultgpt-generation.is-active")).toExist();
	});
});
