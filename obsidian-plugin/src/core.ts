/**
 * What the features share: the settings, this device, the daemon, and one way to say something.
 * The network begins when Obsidian has drawn its windows, not before.
 */
import { Component, FileSystemAdapter, Notice, Platform, requestUrl, type App, type Plugin } from "obsidian";
import { Api } from "./daemon/api.ts";
import { Connection } from "./daemon/connection.ts";
import { Model } from "./daemon/model.ts";
import type { Node } from "./daemon/nodeTransport.ts";
import { PhoneTransport } from "./daemon/phoneTransport.ts";
import { isAbort, Problem, sentenceOf } from "./daemon/problem.ts";
import { DEFAULTS, readSettings, type Settings } from "./settings.ts";
import { BASE_WRITES, learned, versionsApart, writer } from "./words.ts";
import { Device } from "./ui/device.ts";

const NOTICE_MS = 8_000;
/** Between two tries to reach home (ms): a phone away from it must not spend its battery on that. */
const PHONE_RETRY_MS = [2_000, 10_000, 60_000, 300_000];
/** Where Obsidian keeps its settings unless it is told otherwise, and where the daemon looks for them. */
const USUAL = [".", "obsidian"].join("");

export class Core extends Component {
	settings: Settings = DEFAULTS;
	readonly app: App;
	readonly device: Device;
	readonly link: Connection;
	readonly api: Api;
	readonly model: Model;
	private readonly changed = new Set<() => void>();
	private readonly notices = new Map<string, Notice>();
	private saving: Promise<void> = Promise.resolve();
	private apart = "";
	private over = false;

	constructor(readonly plugin: Plugin) {
		super();
		this.app = plugin.app;
		this.device = new Device(this.app);
		const { adapter } = this.app.vault;
		const folder = adapter instanceof FileSystemAdapter ? adapter.getBasePath() : null;
		const pairing = () => this.device.pairing;
		const phone = Platform.isMobile ? new PhoneTransport(pairing, (asked) => requestUrl({ ...asked, throw: false }), activeDocument) : null;
		this.link = new Connection(folder, () => this.device.stateFolder, pairing, window, nodeOfDesktop, phone);
		this.api = new Api(this.link);
		this.model = phone ? new Model(this.api, PHONE_RETRY_MS) : new Model(this.api);
	}

	override onload(): void {
		this.app.workspace.onLayoutReady(() => {
			if (this.over) return; // turned off before the windows stood
			this.register(this.model.onReached(() => this.compare()));
			void this.model.start();
			const { configDir } = this.app.vault;
			if (configDir !== USUAL) this.say(`This vault keeps Obsidian's settings in ${configDir}. The daemon reads ${USUAL} alone, so that it knows nothing of its daily notes' format and its excluded files: set rules.exclude.`);
		});
	}

	override onunload(): void {
		this.over = true;
		this.model.stop();
	}

	/** Say once that plugin and daemon are of two versions. */
	private compare(): void {
		const said = versionsApart(this.plugin.manifest.version, this.model.daemon.status?.version ?? null);
		if (said && said !== this.apart) this.say(said);
		this.apart = said;
	}

	/** Hear of every change of the settings, wherever it was made. */
	onSettings(listener: () => void): () => void {
		this.changed.add(listener);
		return () => this.changed.delete(listener);
	}

	/** Read the settings as they lie in the vault now, where another device may have written them. */
	async readSettings(): Promise<void> {
		this.settings = readSettings(await this.plugin.loadData());
		for (const listener of this.changed) listener();
	}

	/** Change some settings; the others stay as they lie in the vault, also those of a newer version. */
	change(change: Partial<Settings>): Promise<void> {
		this.settings = { ...this.settings, ...change };
		this.saving = this.saving.then(async () => {
			const stored: unknown = await this.plugin.loadData();
			await this.plugin.saveData({ ...(typeof stored === "object" ? stored : {}), ...change });
			await this.readSettings();
		}).catch((error: unknown) => {
			this.log(error);
			this.say("That setting was not saved: Obsidian could not write it. It counts until Obsidian is closed.");
		});
		return this.saving;
	}

	/** One notice; the same sentence again while it is up is not said twice. */
	say(sentence: string): Notice {
		const up = this.notices.get(sentence);
		if (up?.messageEl.isConnected) return up;
		const notice = new Notice(sentence, NOTICE_MS);
		this.notices.set(sentence, notice);
		return notice;
	}

	/** Tell the author what failed. */
	complain(error: unknown): void {
		this.log(error);
		if (!isAbort(error)) this.say(sentenceOf(error));
	}

	/** A fault of our own goes to the console, with its stack. */
	log(error: unknown): void {
		if (!(error instanceof Problem) && !isAbort(error)) console.error("VaultGPT:", error);
	}

	/** Look for the daemon again, as after a change of place. */
	reconnect(): void {
		this.model.stop();
		this.link.forget();
		void this.model.start();
	}

	/** One sentence on whether the daemon is there. */
	connection(): string {
		const { online, problem } = this.model.daemon;
		const writes = writer(this.model.daemon);
		if (online) return `The daemon is running. ${writes === "base" ? BASE_WRITES : writes ? `The voice ${learned(writes)} writes.` : "Nothing has been learned yet."}`;
		return problem ?? "The daemon has not been looked for yet.";
	}

	notePath(): string | null {
		return this.app.workspace.getActiveFile()?.path ?? null;
	}
}

/** Node's modules, loaded when they are first needed; null where there are none, as on a phone or in a browser. */
async function nodeOfDesktop(): Promise<Node | null> {
	if (!Platform.isDesktop) return null;
	try {
		const [http, fs, os, process] = await Promise.all([import("node:http"), import("node:fs/promises"), import("node:os"), import("node:process")]);
		return { http, fs, os, process };
	} catch {
		return null;
	}
}
