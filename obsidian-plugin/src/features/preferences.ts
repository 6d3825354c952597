/** The settings tab, pairing by a link, and the one greeting that offers a hotkey. */
import { Component, Notice, Platform } from "obsidian";
import type { Core } from "../core.ts";
import { addressOf } from "../ui/device.ts";
import { ConfirmModal } from "../ui/confirmModal.ts";
import { SettingTab } from "../ui/settingTab.ts";

const GREETING_MS = 20_000;

export class Preferences extends Component {
	constructor(private readonly core: Core) {
		super();
	}

	override onload(): void {
		const { app, plugin } = this.core;
		plugin.addSettingTab(new SettingTab(this.core, () => this.openHotkeys()));
		plugin.registerObsidianProtocolHandler("vaultgpt", ({ address = "", token = "" }) => this.offerPairing(address, token));
		app.workspace.onLayoutReady(() => {
			if (!this.core.settings.greeted && !Platform.isMobile) void this.greet();
		});
	}

	private openHotkeys(): void {
		type Tab = { setQuery?: (query: string) => void };
		const { setting } = this.core.app as unknown as { setting?: { open(): void; openTabById(id: string): Tab | null } };
		setting?.open();
		setting?.openTabById("hotkeys")?.setQuery?.(this.core.plugin.manifest.name);
	}

	private async greet(): Promise<void> {
		await this.core.change({ greeted: true });
		const notice = new Notice("No hotkey is set yet for writing on in your voice. Click here to choose one.", GREETING_MS);
		this.registerDomEvent(notice.messageEl, "click", () => this.openHotkeys());
	}

	private offerPairing(address: string, token: string): void {
		const place = addressOf(address);
		if (!place || !token) return void this.core.say(Platform.isMobile ? "That link names no HTTPS address of yours." : "That link names no daemon on this computer.");
		const question = `Let the vault ${this.core.app.vault.getName()} write with the daemon at ${place}? Text around the cursor is sent there.`;
		new ConfirmModal(this.core.app, "Pair with a daemon", question, () => {
			this.core.device.address = place;
			this.core.device.token = token;
			this.core.reconnect();
		}).open();
	}
}
