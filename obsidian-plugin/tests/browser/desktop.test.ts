// @vitest-environment jsdom
// The installed main.js as Obsidian's desktop loads it, with Node behind it: nothing is pasted, the
// daemon is found by the vault's folder, lost and found again. A real editor, the real daemon.
import { createRequire } from "node:module";
import * as commands from "@codemirror/commands";
import * as state from "@codemirror/state";
import * as view from "@codemirror/view";
import { afterAll, beforeAll, expect, inject, test, vi } from "vitest";
import { Daemon } from "./daemon.ts";
import { installDom } from "./page/dom.ts";
import * as obsidian from "./page/obsidian.ts";
import { installed, own } from "./stage.ts";

const stage = own(inject("stages"));
const PATH = "Dreams/2021-06-19 Lanes.md";
const SECONDS = { timeout: 60_000 };
let daemon: Daemon;
let plugin: obsidian.Plugin;
let app: obsidian.App;

beforeAll(async () => {
	await Daemon.found(stage)?.kill();
	installDom();
	vi.stubEnv("VAULTGPT_HOME", stage.home);
	Range.prototype.getClientRects = () => [] as unknown as DOMRectList;
	document.body.innerHTML = '<div id="note"></div><div id="side"></div><div id="status"></div><div id="notices"></div>';
	app = new obsidian.App(new obsidian.FileSystemAdapter(stage.vault));
	Object.assign(window, { bench: { app } });
	plugin = await load();
});

afterAll(() => plugin.unload());

async function load(): Promise<obsidian.Plugin> {
	const given: Record<string, unknown> = { obsidian, "@codemirror/commands": commands, "@codemirror/state": state, "@codemirror/view": view };
	const node = createRequire(import.meta.url);
	const module = { exports: {} as Record<string, unknown> };
	const run = new Function("module", "exports", "require", installed(stage, "main.js").toString("utf8"));
	run(module, module.exports, (name: string) => given[name] ?? (node(name) as unknown));
	const Main = module.exports["default"] as new (app: obsidian.App, manifest: unknown) => obsidian.Plugin;
	const made = new Main(app, JSON.parse(installed(stage, "manifest.json").toString("utf8")));
	await (made as unknown as { onload(): Promise<void> }).onload();
	return made;
}

function open(text: string): view.EditorView {
	const editor = new view.EditorView({
		parent: document.querySelector("#note") ?? document.body,
		state: state.EditorState.create({
			doc: text,
			selection: { anchor: text.length },
			extensions: [obsidian.editorInfoField.init(() => ({ file: { path: PATH } })), commands.history(), plugin.extensions],
		}),
	});
	app.workspace.opened({ path: PATH }, new obsidian.MarkdownView({ cm: editor }));
	return editor;
}

const shown = () => document.querySelector(".vaultgpt-ghost-text")?.textContent ?? null;
const status = () => document.querySelector(".vaultgpt-status")?.textContent ?? "";

/** Continue, and wait until the ghost is the whole text of the same request asked for directly. */
async function continued(editor: view.EditorView): Promise<string> {
	plugin.commands.get("continue")?.callback?.();
	await vi.waitFor(() => expect(shown()).not.toBeNull(), SECONDS);
	const { lastRequest } = (plugin as unknown as { writing: { session: { lastRequest: object } } }).writing.session;
	const [text = ""] = await daemon.texts(lastRequest);
	await vi.waitFor(() => expect(shown()).toBe(text), SECONDS);
	return text;
}

test("without a daemon one sentence says how to start it", async () => {
	for (const callback of app.workspace.ready.splice(0)) callback();
	await vi.waitFor(() => expect(status()).toBe("mirror off"), SECONDS);
	const editor = open("Last night I was ");
	plugin.commands.get("continue")?.callback?.();
	await vi.waitFor(() => expect(document.querySelector("#notices")?.textContent).toContain(`vaultgpt serve "${stage.vault}"`), SECONDS);
	editor.destroy();
});

test("a daemon that starts is found by itself, and writes", async () => {
	daemon = await Daemon.start(stage);
	await vi.waitFor(() => expect(status()).toMatch(/^learned/), SECONDS);
	const editor = open("Last night I was ");
	const text = await continued(editor);
	plugin.commands.get("accept")?.editorCheckCallback?.(false, { cm: editor });
	expect(editor.state.doc.toString()).toBe(`Last night I was ${text}`);
	await vi.waitFor(() => expect(window.localStorage.getItem("vaultgpt-accepted")).toBeNull(), SECONDS);
	commands.undo(editor);
	expect(editor.state.doc.toString()).toBe("Last night I was ");
	editor.destroy();
});

test("a daemon that comes back on another port is found by itself, at once when it is asked", async () => {
	const before = daemon.port;
	await daemon.kill("SIGKILL");
	await vi.waitFor(() => expect(status()).toBe("mirror off"), SECONDS);
	daemon = await Daemon.start(stage);
	expect(daemon.port).not.toBe(before);
	const editor = open("The sea was ");
	await continued(editor);
	await vi.waitFor(() => expect(status()).toMatch(/^learned/), SECONDS);
	editor.destroy();
});

test("with the state folder given in the settings the token of a new start is read from there", async () => {
	const port = daemon.port;
	vi.stubEnv("VAULTGPT_HOME", "/nowhere");
	app.saveLocalStorage("vaultgpt-state-folder", stage.home);
	await daemon.kill("SIGKILL");
	await vi.waitFor(() => expect(status()).toBe("mirror off"), SECONDS);
	const before = daemon.token;
	daemon = await Daemon.start(stage, port);
	expect(daemon.token).not.toBe(before);
	const editor = open("The sea was ");
	await continued(editor);
	editor.destroy();
});
