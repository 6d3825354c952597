/**
 * The transport where there is no Node: the window's fetch, an address and a token that the author
 * pasted or confirmed. The daemon answers only if this Origin stands in its `server.origins`.
 */
import { abortError, brokenOff, otherToken, Problem, refusal } from "./problem.ts";
import { prove } from "./proof.ts";
import { SseParser, type ServerEvent } from "./sse.ts";
import type { Method, Transport } from "./transport.ts";

export interface Pairing {
	/** As http://127.0.0.1:8123 */
	readonly address: string;
	readonly token: string;
}

/** A pairing's address without a path; null unless it is this machine's. */
export function loopback(address: string): string | null {
	const match = /^(?:http:\/\/)?((?:127\.0\.0\.1|localhost|\[::1\])(?::\d{1,5})?)\/?$/i.exec(address.trim());
	return match ? `http://${match[1]}` : null;
}

export class FetchTransport implements Transport {
	constructor(
		private readonly pairing: () => Pairing | null,
		private readonly window: Pick<Window, "fetch">,
	) {}

	notePath(path: string): string {
		return path;
	}

	async request(method: Method, path: string, body?: unknown, signal?: AbortSignal): Promise<unknown> {
		const response = await this.open(method, path, body, signal);
		return response.json().catch(() => {
			throw signal?.aborted ? abortError() : brokenOff();
		});
	}

	async *stream(method: Method, path: string, body?: unknown, signal?: AbortSignal): AsyncGenerator<ServerEvent> {
		const response = await this.open(method, path, body, signal);
		const reader = response.body?.getReader();
		if (!reader) return;
		const parser = new SseParser();
		const decoder = new TextDecoder();
		try {
			for (;;) {
				const { done, value } = await reader.read();
				if (done) return;
				yield* parser.push(decoder.decode(value, { stream: true }));
			}
		} catch (error) {
			throw signal?.aborted ? abortError() : error instanceof Problem ? error : brokenOff();
		} finally {
			void reader.cancel().catch(() => undefined);
		}
	}

	private async open(method: Method, path: string, body: unknown, signal?: AbortSignal): Promise<Response> {
		const pairing = this.pairing();
		const address = pairing && loopback(pairing.address);
		if (!pairing || !address) throw new Problem("no transport", "Give the daemon's address and token in the settings of this plugin.");
		await this.prove(address, pairing.token, signal);
		const headers: Record<string, string> = { Authorization: `Bearer ${pairing.token}` };
		if (method === "POST") headers["Content-Type"] = "application/json";
		const data = method === "POST" ? JSON.stringify(body ?? {}) : null;
		const response = await this.fetch(address, path, { method, headers, body: data, signal: signal ?? null });
		if (!response.ok) throw refusal(response.status, await response.text().catch(() => ""));
		return response;
	}

	/** What answers there holds the token, or is told nothing. */
	private prove(address: string, token: string, signal?: AbortSignal): Promise<void> {
		const port = Number(new URL(address).port || 80);
		const ask = async (path: string, limit: AbortSignal) => {
			const response = await this.fetch(address, path, { signal: limit });
			return response.text().catch(() => {
				throw brokenOff();
			});
		};
		return prove(token, port, ask, signal, { strange: () => otherToken(address) });
	}

	private fetch(address: string, path: string, options: RequestInit): Promise<Response> {
		return this.window.fetch(address + path, { ...options, cache: "no-store" }).catch(() => {
			if (options.signal?.aborted) throw abortError();
			throw new Problem("not running", `The daemon does not answer at ${address}: start it with vaultgpt serve, give the address that it prints in the settings of this plugin, and allow this app with vaultgpt config server.origins.`);
		});
	}
}
