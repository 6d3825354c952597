/**
 * What stays on this device and out of the vault: the state folder, the pairing of the second
 * transport, what waits to be reported. The token lies in Obsidian's keychain where there is one.
 */
import type { App } from "obsidian";
import type { Acceptance, Shelf } from "../daemon/outbox.ts";
import type { Pairing } from "../daemon/fetchTransport.ts";

const TOKEN_ID = "vaultgpt-token";
const KEYS = { folder: "vaultgpt-state-folder", address: "vaultgpt-address", outbox: "vaultgpt-accepted" };

/** Obsidian has a keychain since 1.11.4. */
interface Keychain {
	secretStorage?: { getSecret(id: string): string | null; setSecret(id: string, secret: string): void };
}

export class Device implements Shelf {
	constructor(private readonly app: App) {}

	get stateFolder(): string {
		return this.text(KEYS.folder);
	}

	set stateFolder(value: string) {
		this.app.saveLocalStorage(KEYS.folder, value.trim() || null);
	}

	get address(): string {
		return this.text(KEYS.address);
	}

	get pairing(): Pairing | null {
		const [address, token] = [this.address, this.keychain?.getSecret(TOKEN_ID) ?? this.text(TOKEN_ID)];
		return address && token ? { address, token } : null;
	}

	/** Keep an address, and a token unless it is "" (which leaves the old one). */
	pair(address: string, token: string): void {
		this.app.saveLocalStorage(KEYS.address, address.trim() || null);
		if (!token) return;
		if (this.keychain) this.keychain.setSecret(TOKEN_ID, token.trim());
		else this.app.saveLocalStorage(TOKEN_ID, token.trim());
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

	private text(key: string): string {
		const value: unknown = this.app.loadLocalStorage(key);
		return typeof value === "string" ? value : "";
	}
}
