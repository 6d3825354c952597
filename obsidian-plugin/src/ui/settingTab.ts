/** The settings: few, each with a sentence, saved on change; one list for old and new Obsidians. */
import { PluginSettingTab, Setting, type App, type Plugin, type SettingDefinitionItem } from "obsidian";
import { loopback } from "../daemon/fetchTransport.ts";
import type { Settings } from "../settings.ts";
import type { Device } from "./device.ts";

export interface SettingHost extends Plugin {
	settings: Settings;
	device: Device;
	saveSettings(): Promise<void>;
	/** One sentence on whether the daemon is there. */
	connection(): string;
	/** Look for the daemon again, as after a change of place. */
	reconnect(): void;
	openHotkeys(): void;
}

interface Item {
	name: string;
	desc: string;
	show: (setting: Setting) => unknown;
}

export class SettingTab extends PluginSettingTab {
	constructor(
		app: App,
		private readonly host: SettingHost,
	) {
		super(app, host);
	}

	override getSettingDefinitions(): SettingDefinitionItem[] {
		return this.items().map(({ name, desc, show }) => ({
			name,
			desc,
			render: (setting: Setting) => {
				show(setting);
			},
		}));
	}

	/** Obsidian before 1.13 calls this in place of getSettingDefinitions(). */
	override display(): void {
		this.containerEl.empty();
		for (const { name, desc, show } of this.items())
			show(new Setting(this.containerEl).setName(name).setDesc(desc));
	}

	private items(): Item[] {
		return [...this.writing(), ...this.looks(), ...this.daemon(), ...this.pairing()];
	}

	private writing(): Item[] {
		const { settings } = this.host;
		return [
			{
				name: "Hotkey",
				desc: "No key is taken until you choose one. While a continuation is shown: Tab takes all, Ctrl or Cmd with → a word, with Shift and → a sentence, with Enter a paragraph, with ↓ the next one; Esc dismisses.",
				show: (setting) => setting.addButton((button) => button.setButtonText("Set a hotkey").onClick(() => this.host.openHotkeys())),
			},
			{
				name: "Length",
				desc: "How much is written at most; what is typed or dismissed earlier ends it earlier.",
				show: (setting) =>
					setting.addDropdown((dropdown) =>
						dropdown
							.addOptions({ sentence: "A sentence", paragraph: "A paragraph", page: "A page" })
							.setValue(settings.length)
							.onChange((value) => void this.change({ length: value as Settings["length"] })),
					),
			},
			{
				name: "Alternatives",
				desc: "How many continuations are drawn at once, to be cycled through.",
				show: (setting) =>
					setting.addDropdown((dropdown) =>
						dropdown
							.addOptions({ "1": "1", "2": "2", "3": "3", "4": "4" })
							.setValue(String(settings.alternatives))
							.onChange((value) => void this.change({ alternatives: Number(value) })),
					),
			},
			this.toggle("readAhead", "Read ahead", "Once you have used it, let the mirror read the note while you pause, so that it answers at once."),
		];
	}

	private looks(): Item[] {
		return [
			this.toggle("showVoice", "Show the voice", "Say beside a continuation whose voice it is, as in “as #dream · 2019 · g000012”."),
			this.toggle("statusBar", "Status bar", "Show the active generation and what waits to be learned."),
		];
	}

	private daemon(): Item[] {
		const { device } = this.host;
		return [
			{
				name: "Connection",
				desc: this.host.connection(),
				show: (setting) => setting.addButton((button) => button.setButtonText("Look again").onClick(() => this.host.reconnect())),
			},
			{
				name: "Which notes are used",
				desc: "One rule set in the daemon decides, for learning and for writing: vaultgpt config rules.exclude, rules.only and rules.exclude_tags, and vaultgpt: false in a note. The side view tells why a note is used or not.",
				show: () => undefined,
			},
			{
				name: "State folder",
				desc: "Only if you moved it with VAULTGPT_HOME: the folder that holds vaults.json. Kept on this device.",
				show: (setting) =>
					setting.addText((text) =>
						text.setPlaceholder("Found by itself").setValue(device.stateFolder).onChange((value) => {
							device.stateFolder = value;
						}),
					),
			},
		];
	}

	private pairing(): Item[] {
		const { device } = this.host;
		return [
			{
				name: "Address",
				desc: "Only where Obsidian can't find the daemon by itself: its address on this computer. Allow this app there with vaultgpt config server.origins.",
				show: (setting) =>
					setting.addText((text) =>
						text.setPlaceholder("127.0.0.1:8123").setValue(device.address).onChange((value) => {
							if (value === "" || loopback(value)) device.pair(value, "");
						}),
					),
			},
			{
				name: "Token",
				desc: "What vaultgpt token prints. Kept in Obsidian's keychain where there is one, never in the vault.",
				show: (setting) =>
					setting.addText((text) => {
						text.inputEl.type = "password";
						text.setPlaceholder("Paste it here").onChange((value) => device.pair(device.address, value));
					}),
			},
		];
	}

	private toggle(key: "readAhead" | "showVoice" | "statusBar", name: string, desc: string): Item {
		const show = (setting: Setting) =>
			setting.addToggle((toggle) => toggle.setValue(this.host.settings[key]).onChange((value) => void this.change({ [key]: value })));
		return { name, desc, show };
	}

	private async change(change: Partial<Settings>): Promise<void> {
		Object.assign(this.host.settings, change);
		await this.host.saveSettings();
	}
}
