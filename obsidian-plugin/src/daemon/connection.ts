/**
 * Chooses the transport when the first request is made: an explicit pairing wins, then Node with
 * the vault's folder. Loads nothing before.
 */
import { FetchTransport, type Pairing } from "./fetchTransport.ts";
import { NodeTransport, thisMachine } from "./nodeTransport.ts";
import { Problem } from "./problem.ts";
import type { ServerEvent } from "./sse.ts";
import type { Method, Transport } from "./transport.ts";

export class Connection implements Transport {
	private node: Promise<Transport | null> | null = null;
	private current: Transport | null = null;

	/** `vault` is the vault's folder, null where it has none on a disk. */
	constructor(
		private readonly vault: string | null,
		private readonly stateFolder: () => string,
		private readonly pairing: () => Pairing | null,
		private readonly window: Pick<Window, "fetch">,
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
		const paired = this.pairing() !== null;
		const chosen = paired ? new FetchTransport(this.pairing, this.window) : await (this.node ??= this.makeNode());
		if (!chosen) throw new Problem("no transport", "Give the daemon's address and token in the settings of this plugin.");
		this.current = chosen;
		return chosen;
	}

	private async makeNode(): Promise<Transport | null> {
		const here = this.vault === null ? null : await thisMachine();
		return here && new NodeTransport(here.http, here.machine, this.vault ?? "", this.stateFolder);
	}
}
