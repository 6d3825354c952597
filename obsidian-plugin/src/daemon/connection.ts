/**
 * Chooses the transport when the first request is made: a phone's where this is one; else an explicit
 * pairing wins, then Node with the vault's folder. Loads nothing before.
 */
import { FetchTransport, type Pairing } from "./fetchTransport.ts";
import { machineOf, NodeTransport, type Node } from "./nodeTransport.ts";
import { Problem } from "./problem.ts";
import type { ServerEvent } from "./sse.ts";
import type { Method, Transport } from "./transport.ts";

export class Connection implements Transport {
	private node: Promise<Transport | null> | null = null;
	private current: Transport | null = null;

	/**
	 * `vault` is the vault's folder, null where it has none on a disk; `load` brings Node's modules, null
	 * where there are none; `phone` is null on a desktop.
	 */
	constructor(
		private readonly vault: string | null,
		private readonly stateFolder: () => string,
		private readonly pairing: () => Pairing | null,
		private readonly window: Pick<Window, "fetch">,
		private readonly load: () => Promise<Node | null>,
		private readonly phone: Transport | null = null,
	) {}

	notePath(path: string): string {
		return this.current?.notePath(path) ?? path;
	}

	async request(method: Method, path: string, body?: unknown, signal?: AbortSignal): Promise<unknown> {
		return (await this.transport()).request(method, path, body, signal);
	}

	async *stream(method: Method, path: string, body?: unknown, signal?: AbortSignal): AsyncGenerator<ServerEvent> {
		yield* (await this.transport()).stream(method, path, body, signal);
	}

	/** Look for the daemon anew, as after a change of place. */
	forget(): void {
		this.node = null;
	}

	private async transport(): Promise<Transport> {
		if (this.phone) return this.phone;
		const paired = this.pairing() !== null;
		const chosen = paired ? new FetchTransport(this.pairing, this.window) : await (this.node ??= this.makeNode());
		if (!chosen) throw new Problem("no transport", "Give the daemon's address and token in the settings of this plugin.");
		this.current = chosen;
		return chosen;
	}

	private async makeNode(): Promise<Transport | null> {
		const node = this.vault === null ? null : await this.load();
		return node && new NodeTransport(node.http, machineOf(node), this.vault ?? "", this.stateFolder);
	}
}
