/** The seam to the daemon: one request, or one stream. Two transports stand behind it. */
import type { ServerEvent } from "./sse.ts";

export type Method = "GET" | "POST";

export interface Transport {
	/** The JSON answer. Throws Problem, or an AbortError when `signal` calls it off. */
	request(method: Method, path: string, body?: unknown, signal?: AbortSignal): Promise<unknown>;
	/** Events until the daemon ends the stream. Leaving the loop closes the connection. */
	stream(method: Method, path: string, body?: unknown, signal?: AbortSignal): AsyncIterable<ServerEvent>;
	/** The note's path as the daemon knows it: it may keep a folder above this vault. */
	notePath(path: string): string;
}
