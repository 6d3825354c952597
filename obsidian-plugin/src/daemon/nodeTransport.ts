/**
 * The desktop's transport: finds the daemon by its runtime.json and speaks over Node's http, so
 * that there is no CORS and no token to copy. Node's modules are given, and none is loaded here.
 */
import { ask, type Http, type Incoming } from "./line.ts";
import { findEndpoint, type Endpoint, type Machine } from "./places.ts";
import { abortError, brokenOff, isAbort, notRunning, Problem, refusal } from "./problem.ts";
import { SseParser, type ServerEvent } from "./sse.ts";
import type { Method, Transport } from "./transport.ts";

/** An answer of this size or more is not one of ours. */
const MOST_ANSWER_CHARS = 32_000_000;

/** What of Node is needed. */
export interface Node {
	readonly http: Http;
	readonly fs: typeof import("node:fs/promises");
	readonly os: typeof import("node:os");
	readonly process: Pick<typeof import("node:process"), "platform" | "env">;
}

/** The machine as Node tells it. */
export function machineOf({ fs, os, process: { platform, env } }: Node): Machine {
	const read = (path: string) => fs.readFile(path, "utf8").catch(() => null);
	const files = { read, realpath: (path: string) => fs.realpath(path).catch(() => path), exists: (path: string) => fs.access(path).then(() => true, () => false) };
	return { platform, env, home: os.homedir(), files };
}

export class NodeTransport implements Transport {
	private endpoint: Endpoint | null = null;

	/** `vault` is the vault's folder; `chosen` gives the author's state folder, mostly "". */
	constructor(
		private readonly http: Http,
		private readonly machine: Machine,
		private readonly vault: string,
		private readonly chosen: () => string = () => "",
	) {}

	notePath(path: string): string {
		return (this.endpoint?.prefix ?? "") + path;
	}

	async request(method: Method, path: string, body?: unknown, signal?: AbortSignal): Promise<unknown> {
		const response = await this.open(method, path, body, signal);
		let text = "";
		try {
			for await (const chunk of decoded(response)) {
				text += chunk;
				if (text.length > MOST_ANSWER_CHARS) throw brokenOff();
			}
			return JSON.parse(text || "{}");
		} catch {
			throw signal?.aborted ? abortError() : brokenOff();
		} finally {
			response.destroy();
		}
	}

	async *stream(method: Method, path: string, body?: unknown, signal?: AbortSignal): AsyncGenerator<ServerEvent> {
		const response = await this.open(method, path, body, signal);
		const parser = new SseParser();
		try {
			for await (const chunk of decoded(response)) yield* parser.push(chunk);
			if (signal?.aborted) throw abortError();
		} catch (error) {
			throw signal?.aborted ? abortError() : isAbort(error) ? error : brokenOff();
		} finally {
			response.destroy();
		}
	}

	/** The response to a request that was accepted; looks the daemon up again when it has moved. */
	private async open(method: Method, path: string, body: unknown, signal?: AbortSignal): Promise<Incoming> {
		const send = async (to: Endpoint) => accepted(await ask(this.http, to, method, path, body, signal));
		const known = this.endpoint;
		try {
			if (known) return await send(known);
		} catch (error) {
			if (!isAway(error)) throw error;
			const { port, token } = await this.find();
			if (error instanceof Problem && port === known?.port && token === known.token) throw error;
		}
		try {
			return await send(this.endpoint ?? (await this.find()));
		} catch (error) {
			if (!isAway(error)) throw error;
			this.endpoint = null;
			throw error instanceof Problem ? error : notRunning(this.vault);
		}
	}

	private async find(): Promise<Endpoint> {
		this.endpoint = null;
		this.endpoint = await findEndpoint(this.machine, this.vault, this.chosen());
		return this.endpoint;
	}
}

/** Whether the daemon may be found elsewhere, or by another token. */
function isAway(error: unknown): boolean {
	return error instanceof Problem ? error.kind === "not running" || error.status === 401 : !isAbort(error);
}

async function accepted(response: Incoming): Promise<Incoming> {
	const status = response.statusCode ?? 0;
	if (status < 400) return response;
	let text = "";
	for await (const chunk of decoded(response)) text += chunk;
	throw refusal(status, text);
}

async function* decoded(response: Incoming): AsyncGenerator<string> {
	response.setEncoding("utf8");
	for await (const chunk of response) yield String(chunk);
}
