/** The plugin: puts the parts together, and takes all of it down again. No work before the layout. */
import type { EditorView } from "@codemirror/view";
import { editorInfoField, FileSystemAdapter, MarkdownView, Notice, parseYaml, Plugin, type Editor, type TFile, type WorkspaceLeaf } from "obsidian";
import { Api, type Completion } from "./daemon/api.ts";
import { Connection } from "./daemon/connection.ts";
import { loopback } from "./daemon/fetchTransport.ts";
import { Model } from "./daemon/model.ts";
import { Outbox } from "./daemon/outbox.ts";
import { PathDates } from "./daemon/pathDates.ts";
import { isAbort, sentenceOf } from "./daemon/problem.ts";
import { ghostExtension } from "./editor/extension.ts";
import { voiceLabel } from "./note/label.ts";
import { completion, isNote, vaultTag, voiced, type Ask } from "./note/request.ts";
import { readNote, type Reading } from "./note/voice.ts";
import { readAhead } from "./readAhead.ts";
import { Session } from "./session.ts";
import { DEFAULTS, readSettings, type Settings } from "./settings.ts";
import { AsModal } from "./ui/asModal.ts";
import { addCommands, viewOf, type CommandHost } from "./ui/commands.ts";
import { ConfirmModal } from "./ui/confirmModal.ts";
import { Device } from "./ui/device.ts";
import { SettingTab, type SettingHost } from "./ui/settingTab.ts";
import { MirrorView, previous, VIEW_TYPE, type ViewHost } from "./ui/view.ts";
import { noteSentence, statusLine, statusStory } from "./words.ts";

/** The hotkey waits this long (ms) for a note's date; later the daemon adds it by itself. */
const MOST_WAIT_MS = 500;

export default class VaultGPTPlugin extends Plugin implements CommandHost, SettingHost, ViewHost {
	override settings: Settings = DEFAULTS;
	device = new Device(this.app);
	private link = this.makeConnection();
	api = new Api(this.link);
	outbox = new Outbox(this.device, ({ text, path }) => this.api.accepted(text, path));
	dates = new PathDates((path) => this.api.note(path).then(({ pathDate }) => pathDate));
	model = new Model(this.api, () => void this.reached());
	session = new Session({
		complete: (body, signal) => this.api.complete(body, signal),
		keep: (id, text, path) => this.outbox.put({ id, text, path }),
		report: () => void this.report(),
		say: (sentence) => this.say(sentence),
	});
	private bar: HTMLElement | null = null;
	private lastAsk: Ask = {};
	private used = false;
	private warming = new AbortController();
	private unloaded = false;

	override async onload(): Promise<void> {
		this.settings = readSettings(await this.loadData());
		this.registerEditorExtension([
			ghostExtension(this.session),
			readAhead(() => this.used && this.settings.readAhead, (view) => void this.warm(view)),
		]);
		this.registerView(VIEW_TYPE, (leaf: WorkspaceLeaf) => new MirrorView(leaf, this));
		this.addSettingTab(new SettingTab(this.app, this));
		this.addRibbonIcon("feather", "Open the mirror's history", () => void this.openView());
		this.registerObsidianProtocolHandler("vaultgpt", ({ address = "", token = "" }) => this.offerPairing(address, token));
		addCommands(this);
		this.register(this.model.subscribe(() => this.showStatus()));
		this.registerEvent(this.app.workspace.on("file-open", () => void this.opened()));
		this.app.workspace.onLayoutReady(() => this.begin());
	}

	override onunload(): void {
		this.unloaded = true;
		this.model.stop();
		this.warming.abort();
		this.session.close();
	}

	/** The network begins here, when Obsidian has drawn its windows. */
	private begin(): void {
		if (this.unloaded) return; // turned off before the windows stood
		this.showStatus();
		void this.model.start();
		if (!this.settings.greeted) void this.greet();
	}

	// Writing

	async write(editor: Editor, ask: Ask | null): Promise<void> {
		const view = viewOf(editor);
		if (!view || view.composing || view.state.readOnly) return;
		this.lastAsk = ask ?? this.lastAsk;
		this.used = true;
		await this.learnDate(view);
		const at = view.state.selection.main.to;
		const reading = this.read(view, at);
		if (reading.off) return this.say("This note says vaultgpt: false, so nothing is written in it.");
		if (reading.inProperties) return this.say("The cursor is in the note's properties; put it into the text.");
		this.warming.abort();
		const path = fileOf(view)?.path ?? null;
		const label = this.settings.showVoice ? this.label(reading, this.lastAsk) : "";
		await this.session.start(view, at, this.body(reading, this.lastAsk, path), label, path);
	}

	async writeAs(editor: Editor): Promise<void> {
		const view = viewOf(editor);
		if (!view) return;
		await this.learnDate(view);
		const now = this.read(view, view.state.selection.main.to);
		const census = this.model.daemon.census ?? { tags: {}, years: {} };
		new AsModal(this.app, census, now, (ask) => void this.write(editor, ask)).open();
	}

	async writeKind(editor: Editor, kind: "dream" | "poem"): Promise<void> {
		const tag = vaultTag(kind, this.model.daemon.census?.tags ?? {});
		await this.write(editor, { tags: [tag] });
	}

	private read(view: EditorView, at: number): Reading {
		const path = fileOf(view)?.path ?? "";
		return readNote(view.state.doc.toString(), at, path, parseYaml, isNote(path) ? this.dates.of(path) : null);
	}

	private async learnDate(view: EditorView): Promise<void> {
		const path = fileOf(view)?.path ?? "";
		if (isNote(path)) await Promise.race([this.dates.learn(path), sleep(MOST_WAIT_MS)]);
	}

	private body(reading: Reading, ask: Ask, path: string | null): Completion {
		const seed = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
		return completion(reading, ask, this.settings, path, seed);
	}

	private label(reading: Reading, ask: Ask): string {
		return voiceLabel(voiced(reading, ask), this.model.daemon.status?.active ?? null);
	}

	private async warm(view: EditorView): Promise<void> {
		this.warming.abort();
		this.warming = new AbortController();
		const reading = this.read(view, view.state.selection.main.head);
		if (reading.off || reading.inProperties || !this.model.daemon.online) return;
		const body = this.body(reading, this.lastAsk, fileOf(view)?.path ?? null);
		await this.api.warm(body, this.warming.signal).catch(() => undefined); // a hint, nothing is lost
	}

	/** A daemon was found, or found again: what it knows of the vault may be new. */
	private async reached(): Promise<void> {
		this.dates.forget();
		await Promise.all([this.report(), this.opened()]);
	}

	/** A note is looked at: its voice is shown as far as it is known, then with its date. */
	private async opened(): Promise<void> {
		this.showStatus();
		const path = this.notePath() ?? "";
		if (!this.model.daemon.online || !isNote(path)) return;
		await this.dates.learn(path);
		this.showStatus();
	}

	private async report(): Promise<void> {
		await this.outbox.flush().catch(() => undefined); // what was not sent stays on the shelf
	}

	// What is shown

	async openView(): Promise<void> {
		const { workspace } = this.app;
		const leaf = workspace.getLeavesOfType(VIEW_TYPE)[0] ?? workspace.getRightLeaf(false);
		if (!leaf) return;
		await leaf.setViewState({ type: VIEW_TYPE, active: true });
		await workspace.revealLeaf(leaf);
	}

	async act(what: "train" | "cancel" | "rollback" | "why"): Promise<void> {
		try {
			const sentence = await this.acted(what);
			if (sentence) this.say(sentence);
		} catch (error) {
			if (!isAbort(error)) this.say(sentenceOf(error));
		}
	}

	private async acted(what: "train" | "cancel" | "rollback" | "why"): Promise<string> {
		if (what === "train") return this.api.train().then(() => "Learning has begun.");
		if (what === "cancel") return this.api.cancelTraining().then(() => "Learning was stopped.");
		if (what === "why") {
			const path = this.notePath();
			return path ? this.api.note(path).then(noteSentence) : "Open a note first.";
		}
		const before = previous(await this.api.generations());
		if (!before) return "There is no earlier generation to go back to.";
		await this.api.activate(before.id);
		return `${before.id} is active.`;
	}

	notePath(): string | null {
		return this.app.workspace.getActiveFile()?.path ?? null;
	}

	say(sentence: string): void {
		new Notice(sentence, 8_000);
	}

	private showStatus(): void {
		if (!this.settings.statusBar) {
			this.bar?.remove();
			this.bar = null;
			return;
		}
		this.bar ??= this.makeBar();
		const { daemon } = this.model;
		this.bar.setText(statusLine(daemon));
		this.bar.toggleClass("is-offline", !daemon.online);
		const view = this.app.workspace.getActiveViewOfType(MarkdownView);
		const editor = view && viewOf(view.editor);
		const voice = editor ? this.label(this.read(editor, editor.state.selection.main.head), {}) : "";
		this.bar.setAttribute("aria-label", statusStory(daemon, voice));
	}

	private makeBar(): HTMLElement {
		const bar = this.addStatusBarItem();
		bar.addClass("vaultgpt-status", "mod-clickable");
		bar.setAttribute("data-tooltip-position", "top");
		this.registerDomEvent(bar, "click", () => void this.openView());
		this.registerDomEvent(bar, "mouseenter", () => this.showStatus());
		return bar;
	}

	// Settings and connection

	async saveSettings(): Promise<void> {
		await this.saveData(this.settings);
		this.showStatus();
	}

	connection(): string {
		const { online, problem, status } = this.model.daemon;
		if (online) return `The daemon is running; ${status?.active ?? "no generation"} is active.`;
		return problem ?? "The daemon has not been looked for yet.";
	}

	reconnect(): void {
		this.model.stop();
		this.link.forget();
		void this.model.start();
	}

	openHotkeys(): void {
		type Tab = { setQuery?: (query: string) => void };
		const { setting } = this.app as unknown as { setting?: { open(): void; openTabById(id: string): Tab | null } };
		setting?.open();
		setting?.openTabById("hotkeys")?.setQuery?.(this.manifest.name);
	}

	private async greet(): Promise<void> {
		this.settings.greeted = true;
		await this.saveData(this.settings);
		const notice = new Notice("No hotkey is set yet for writing on in your voice. Click here to choose one.", 20_000);
		this.registerDomEvent(notice.messageEl, "click", () => this.openHotkeys());
	}

	private offerPairing(address: string, token: string): void {
		const place = loopback(address);
		if (!place || !token) return this.say("That link names no daemon on this computer.");
		const question = `Let this vault write with the daemon at ${place}? Text around the cursor is sent there.`;
		new ConfirmModal(this.app, "Pair with a daemon", question, () => {
			this.device.pair(place, token);
			this.reconnect();
		}).open();
	}

	private makeConnection(): Connection {
		const { adapter } = this.app.vault;
		const folder = adapter instanceof FileSystemAdapter ? adapter.getBasePath() : null;
		return new Connection(folder, () => this.device.stateFolder, () => this.device.pairing, window);
	}
}

function fileOf(view: EditorView): TFile | null {
	return view.state.field(editorInfoField, false)?.file ?? null;
}
