/**
 * The settings in groups, each with a sentence, saved on change; what is wrong is said in its row. The
 * daemon's own options are drawn from what it tells of them. One list for old and new Obsidians.
 */
import { Platform, PluginSettingTab, Setting, type SettingDefinitionItem } from "obsidian";
import type { Core } from "../core.ts";
import type { Option } from "../daemon/api.ts";
import { sentenceOf } from "../daemon/problem.ts";
import { DEFAULT_KEYS, type Act } from "../editor/keys.ts";
import { LOOKS, type Settings } from "../settings.ts";
import { addressOf } from "./device.ts";
import { keyRow, optionRow, secretRow, wrong, type Row } from "./settingRows.ts";

interface Group {
	heading: string;
	rows: Row[];
}

const OF_DESKTOP = {
	example: "127.0.0.1:8123",
	wrong: "That is no address on this computer: give it as 127.0.0.1:8123.",
	address: "Only where Obsidian can't find the daemon by itself: its address on this computer. Allow this app there with vaultgpt config server.origins.",
	token: "What vaultgpt token prints.",
};
const OF_PHONE = {
	example: "desk.example.ts.net",
	wrong: "That is no HTTPS address: give it as desk.example.ts.net.",
	address: "Your own HTTPS address of the computer at home. Scanned with this phone's camera, the code on the page that vaultgpt open shows there fills in both.",
	token: "As it stands below that code.",
};
const LENGTHS = { sentence: "A sentence", paragraph: "A paragraph", page: "A page" };
/** After the last key of a place (ms) the daemon is looked for there. */
const SETTLED_MS = 600;

export class SettingTab extends PluginSettingTab {
	private options: readonly Option[] | null = null;
	private readonly live = new Set<() => void>();
	/** Where the daemon's options are drawn. */
	private box: HTMLElement | null = null;
	private timer: number | undefined;

	constructor(
		private readonly core: Core,
		private readonly openHotkeys: () => void,
	) {
		super(core.app, core.plugin);
	}

	override getSettingDefinitions(): SettingDefinitionItem[] {
		this.forget();
		this.begin(() => (this as { update?: () => void }).update?.());
		const [before, after] = this.own();
		return [...before, ...this.ofDaemons(), ...after].map(({ heading, rows }) => ({
			type: "group",
			heading,
			items: rows.map(({ name, desc, show }) => ({
				name,
				desc,
				render: (setting: Setting) => {
					show(setting);
				},
			})),
		}));
	}

	/** Obsidian before 1.13 calls this in place of getSettingDefinitions(). */
	override display(): void {
		this.show();
	}

	/** What the daemon tells comes later, into a place of its own: a field that is typed in stays. */
	private show(): void {
		this.forget();
		this.containerEl.empty();
		const [before, after] = this.own();
		draw(this.containerEl, before);
		this.box = this.containerEl.createDiv();
		draw(this.containerEl, after);
		const later = () => draw(this.box ?? this.containerEl, this.ofDaemons());
		later();
		this.begin(later);
	}

	override hide(): void {
		this.forget();
		this.options = null;
	}

	/** Rows that are gone hear of nothing any more. */
	private forget(): void {
		for (const stop of this.live) stop();
		this.live.clear();
	}

	/** Ask for the daemon's options, once each time the tab is opened. They are set at home, not by phone. */
	private begin(again: () => void): void {
		if (this.options !== null || !this.core.model.daemon.online || Platform.isMobile) return;
		this.options = [];
		this.core.api.options().then(
			(options) => {
				this.options = options;
				again();
			},
			(error: unknown) => this.core.complain(error),
		);
	}

	/** The plugin's own groups: those before the daemon's, and those after. */
	private own(): [Group[], Group[]] {
		if (Platform.isMobile) return [this.ofPhone(), []];
		const keys = (Object.keys(DEFAULT_KEYS) as Act[]).map((act) => keyRow(this.core, act));
		const before = [
			{ heading: "Writing", rows: this.writing() },
			{ heading: "Keys while a continuation is shown", rows: keys },
			{ heading: "Looks", rows: this.looks() },
			{ heading: "Daemon", rows: this.daemon() },
		];
		return [before, [{ heading: "Pairing by hand", rows: this.pairing() }]];
	}

	/** A phone's: no keys, no place on a disk, and nothing that would ask at every pause. */
	private ofPhone(): Group[] {
		const writing = this.writing().filter(({ name }) => name === "Length" || name === "Alternatives");
		const looks = this.looks().filter(({ name }) => name !== "Status bar");
		const [connection] = this.daemon();
		return [
			{ heading: "The computer at home", rows: [...(connection ? [connection] : []), ...this.pairing()] },
			{ heading: "Writing", rows: writing },
			{ heading: "Looks", rows: looks },
		];
	}

	private ofDaemons(): Group[] {
		const groups = [
			this.ofDaemon("How it writes (this vault, set in the daemon)", "mirror."),
			this.ofDaemon("Which notes are used (this vault, set in the daemon)", "rules."),
		];
		return groups.filter(({ rows }) => rows.length > 0);
	}

	private writing(): Row[] {
		const counts = Object.fromEntries(["1", "2", "3", "4"].map((count) => [count, count]));
		return [
			{
				name: "Hotkey",
				desc: "No key is taken until you choose one.",
				show: (setting) => setting.addButton((button) => button.setButtonText("Set a hotkey").onClick(() => this.openHotkeys())),
			},
			this.choice("Length", "How much is written at most, unless the note itself says.", LENGTHS, this.core.settings.length, (length) => ({ length: length as Settings["length"] })),
			this.choice("Alternatives", "How many continuations are written at once, for you to step through.", counts, String(this.core.settings.alternatives), (count) => ({ alternatives: Number(count) })),
			this.toggle("asYouType", "As you type", "After a pause at the end of a line, show the next few words where the mirror is sure of them. Mostly it shows nothing."),
			this.toggle("readAhead", "Read ahead", "Let the mirror read the note while you pause, so that it answers at once. Only after you have used it once."),
		];
	}

	private looks(): Row[] {
		return [
			this.choice("Ghost", "How a continuation looks before you take it.", LOOKS, this.core.settings.look, (look) => ({ look: look as Settings["look"] })),
			this.toggle("showVoice", "Show the voice", "Say beside a continuation whose voice it is, as in “as #dream · 2019 · voice of last night”."),
			this.toggle("statusBar", "Status bar", "Show when the voice that writes was learned, and what waits to be learned."),
		];
	}

	private daemon(): Row[] {
		const { core } = this;
		const connection = (setting: Setting) => {
			setting.addButton((button) => button.setButtonText("Look again").onClick(() => core.reconnect()));
			const tell = () => void setting.setDesc(core.connection());
			this.live.add(core.model.subscribe(tell));
		};
		return [
			{ name: "Connection", desc: core.connection(), show: connection },
			{
				name: "State folder",
				desc: "Only if you moved it with VAULTGPT_HOME: the folder that holds vaults.json. Kept on this device.",
				show: (setting) =>
					setting.addText((text) =>
						text.setPlaceholder("Found by itself").setValue(core.device.stateFolder).onChange((value) => {
							core.device.stateFolder = value;
							this.lookLater();
						}),
					),
			},
		];
	}

	private pairing(): Row[] {
		const { device } = this.core;
		const said = Platform.isMobile ? OF_PHONE : OF_DESKTOP;
		const address = (setting: Setting) =>
			setting.addText((text) => {
				text.setPlaceholder(said.example).setValue(device.address).onChange((value) => {
					const good = value.trim() === "" || addressOf(value) !== null;
					wrong(setting, good ? "" : said.wrong);
					if (!good) return;
					device.address = value;
					this.lookLater();
				});
			});
		return [
			{
				name: "Address",
				desc: said.address,
				show: address,
			},
			{
				name: "Token",
				desc: `${said.token} Kept in Obsidian's keychain where there is one, never in the vault.`,
				show: (setting) => secretRow(this.core, setting, () => this.lookLater()),
			},
		];
	}

	private ofDaemon(heading: string, prefix: string): Group {
		const options = (this.options ?? []).filter(({ key }) => key.startsWith(prefix));
		const save = (option: Option) => (setting: Setting, value: Option["value"]) => {
			this.core.api.setOption(option.key, value).then(
				() => wrong(setting, ""),
				(error: unknown) => wrong(setting, sentenceOf(error)),
			);
		};
		return { heading, rows: options.map((option) => optionRow(option, save(option))) };
	}

	private choice(name: string, desc: string, options: Record<string, string>, value: string, change: (value: string) => Partial<Settings>): Row {
		const show = (setting: Setting) =>
			setting.addDropdown((dropdown) => dropdown.addOptions(options).setValue(value).onChange((chosen) => void this.core.change(change(chosen))));
		return { name, desc, show };
	}

	private toggle(key: "asYouType" | "readAhead" | "showVoice" | "statusBar", name: string, desc: string): Row {
		const show = (setting: Setting) =>
			setting.addToggle((toggle) => toggle.setValue(this.core.settings[key]).onChange((value) => void this.core.change({ [key]: value })));
		return { name, desc, show };
	}

	private lookLater(): void {
		window.clearTimeout(this.timer);
		this.timer = window.setTimeout(() => this.core.reconnect(), SETTLED_MS);
	}
}

function draw(parent: HTMLElement, groups: readonly Group[]): void {
	for (const { heading, rows } of groups) {
		new Setting(parent).setName(heading).setHeading();
		for (const { name, desc, show } of rows) show(new Setting(parent).setName(name).setDesc(desc));
	}
}
