/**
 * What stays on this device and out of the vault: the state folder, the pairing of the second
 * transport, what waits to be reported. The token lies in Obsidian's keychain where there is one.
 */
import { Platform, type App } from "obsidian";
import type { Acceptance, Shelf } from "../daemon/outbox.ts";
import { loopback, type Pairing } from "../daemon/fetchTransport.ts";
import { homeAddress } from "../daemon/phoneTransport.ts";

const TOKEN = "vaultgpt-token";
const KEYS = { folder: "vaultgpt-state-folder", address: "vaultgpt-address", tokenName: "vaultgpt-token-name", outbox: "vaultgpt-accepted" };

/** Obsidian has a keychain since 1.11.4. */
interface Keychain {
	secretStorage?: { getSecret(id: string): string | null; setSecret(id: string, secret: string): void };
}

/** An address that this device may be paired with, without a path; null for any other. */
export function addressOf(address: string): string | null {
	return Platform.isMobile ? homeAddress(address) : loopback(address);
}

export class Device implements Shelf {
	constructor(private readonly app: App) {}

	get stateFolder(): string {
		return this.text(KEYS.folder);
	}

	set stateFolder(value: string) {
		this.keep(KEYS.folder, value);
	}

	get address(): string {
		return this.text(KEYS.address);
	}

	set address(value: string) {
		this.keep(KEYS.address, value);
	}

	get hasKeychain(): boolean {
		return this.keychain !== undefined;
	}

	/** Which of the keychain's secrets is the token. */
	get tokenName(): string {
		return this.text(KEYS.tokenName) || TOKEN;
	}

	set tokenName(value: string) {
		this.keep(KEYS.tokenName, value);
	}

	get token(): string {
		return this.keychain ? (this.keychain.getSecret(this.tokenName) ?? "") : this.text(TOKEN);
	}

	/** "" deletes it. */
	set token(value: string) {
		if (this.keychain) this.keychain.setSecret(this.tokenName, value.trim());
		else this.keep(TOKEN, value);
	}

	get pairing(): Pairing | null {
		const { address, token } = this;
		return address && token ? { address, token } : null;
	}

	load(): unknown {
		return this.app.loadLocalStorage(KEYS.outbox) as unknown;
	}

	save(value: readonly Acceptance[]): void {
		this.app.saveLocalStorage(KEYS.outbox, value.length > 0 ? value : null);
	}

	private get keychain() {
		return (this.app as unknown as Keychain).secretStorage;
	}

	private keep(key: string, value: string): void {
		this.app.saveLocalStorage(key, value.trim() || null);
	}

	private text(key: string): string {
		const value: unknown = this.app.loadLocalStorage(key);
		return typeof value === "string" ? value : "";
	}
}
