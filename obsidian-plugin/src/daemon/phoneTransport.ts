/**
 * The transport of a phone: the author's own HTTPS address at home, asked as Obsidian lets a phone ask, which
 * gives an answer only when it is whole and never calls one off. Nothing is told before the home has proved
 * itself. There is no stream of events: it looks again from time to time, and whenever the app is seen again.
 */
import { codeRefused, Problem, abortError, brokenOff, refusal, silentHome, unreachable } from "./problem.ts";
import { prove } from "./proof.ts";
import type { Pairing } from "./fetchTransport.ts";
import type { ServerEvent } from "./sse.ts";
import type { Method, Transport } from "./transport.ts";

/** One request over the network; throws where nothing answers, and never by the status. */
export type Requester = (asked: { url: string; method: Method; headers: Record<string, string>; body?: string }) => Promise<{ status: number; text: string }>;

/** Between two looks at a daemon (ms) whose events can't be heard. */
const LOOK_MS = 60_000;

/** A pairing's HTTPS address without a path, also where only its name was given; null for anything else. */
export function homeAddress(address: string): string | null {
	const match = /^(?:https:\/\/)?((?:[a-z0-9-]+\.)+[a-z][a-z0-9-]*(?::\d{1,5})?)\/?$/i.exec(address.trim());
	return match?.[1] ? `https://${match[1].toLowerCase()}` : null;
}

export class PhoneTransport implements Transport {
	/** The newest request of a `user` ends the older one at home, which can't be called off from here. */
	private readonly user = crypto.randomUUID();

	constructor(
		private readonly pairing: () => Pairing | null,
		private readonly ask: Requester,
		private readonly document: Document,
	) {}

	notePath(path: string): string {
		return path;
	}

	async request(method: Method, path: string, body?: unknown, signal?: AbortSignal): Promise<unknown> {
		const pairing = this.pairing();
		const address = pairing && homeAddress(pairing.address);
		if (!pairing || !address) throw new Problem("no transport", "This phone is not paired: scan the code on the page that vaultgpt open shows at home.");
		await this.prove(address, pairing.token, signal);
		const headers: Record<string, string> = { Authorization: `Bearer ${pairing.token}` };
		if (method === "POST") headers["Content-Type"] = "application/json";
		const data = method === "POST" ? { body: JSON.stringify(body ?? {}) } : {};
		const { status, text } = await called(this.asked(address, { url: address + path, method, headers, ...data }), signal);
		if (status >= 400) throw refusal(status, text);
		return parsed(text);
	}

	async *stream(method: Method, path: string, body?: unknown, signal?: AbortSignal): AsyncGenerator<ServerEvent> {
		if (path === "/v1/events") yield* this.looks(signal);
		else yield* pieces(await this.request(method, path, { ...(body as object), stream: false, user: this.user }, signal));
	}

	/** What answers there holds the phone's token, or is told nothing. */
	private prove(address: string, token: string, signal?: AbortSignal): Promise<void> {
		const ask = async (path: string, limit: AbortSignal) => (await called(this.asked(address, { url: address + path, method: "GET", headers: {} }), limit)).text;
		const said = { strange: () => codeRefused(address), silent: () => silentHome(address) };
		return prove(token, new URL(address).host, ask, signal, said);
	}

	private asked(address: string, what: Parameters<Requester>[0]): ReturnType<Requester> {
		return this.ask(what).catch(() => {
			throw unreachable(address);
		});
	}

	private async *looks(signal?: AbortSignal): AsyncGenerator<ServerEvent> {
		for (;;) {
			await this.seen(signal);
			yield { name: "look", data: "" };
		}
	}

	/** After a while, or when the app is seen again. */
	private seen(signal?: AbortSignal): Promise<void> {
		const { document } = this;
		return new Promise((resolve, reject) => {
			const over = () => {
				window.clearTimeout(timer);
				document.removeEventListener("visibilitychange", look);
				signal?.removeEventListener("abort", over);
				if (signal?.aborted) reject(abortError());
				else resolve();
			};
			const look = () => (document.visibilityState === "visible" ? over() : undefined);
			const timer = window.setTimeout(look, LOOK_MS);
			document.addEventListener("visibilitychange", look);
			signal?.addEventListener("abort", over);
		});
	}
}

/** The answer, unless `signal` is up before it comes; what comes then is nobody's. */
async function called<T>(answer: Promise<T>, signal?: AbortSignal): Promise<T> {
	if (!signal) return answer;
	if (signal.aborted) throw abortError();
	return new Promise((resolve, reject) => {
		const over = () => reject(abortError());
		signal.addEventListener("abort", over);
		answer.then(resolve, reject).finally(() => signal.removeEventListener("abort", over));
	});
}

function parsed(text: string): unknown {
	try {
		return JSON.parse(text);
	} catch {
		throw brokenOff();
	}
}

/** A whole completion as the events of a stream. */
function* pieces(answer: unknown): Generator<ServerEvent> {
	const { choices, vaultgpt } = answer as { choices?: unknown; vaultgpt?: unknown };
	for (const choice of Array.isArray(choices) ? choices : []) yield { name: "message", data: JSON.stringify({ choices: [choice], vaultgpt }) };
	yield { name: "message", data: "[DONE]" };
}
