/**
 * One connection of Node's to the daemon: it proves itself on it, and then the request goes over the
 * same connection and no other, so that what listens there then is what has answered.
 */
import { abortError } from "./problem.ts";
import { prove } from "./proof.ts";
import type { Endpoint } from "./places.ts";
import type { Method } from "./transport.ts";

export type Http = typeof import("node:http");
type Agent = InstanceType<Http["Agent"]>;
export type Incoming = InstanceType<Http["IncomingMessage"]>;
type RequestOptions = Parameters<Http["request"]>[1];

/** A proof is shorter than this. */
const MOST_PROOF_CHARS = 4_096;

/** The response to a request that was sent over a proven connection. Throws Problem or AbortError. */
export async function ask(http: Http, to: Endpoint, method: Method, path: string, body: unknown, signal?: AbortSignal): Promise<Incoming> {
	const agent = oneConnection(http);
	try {
		await prove(to.token, to.port, (at, limit) => short(http, agent, to.port, at, limit), signal);
		const data = method === "POST" ? JSON.stringify(body ?? {}) : "";
		const headers: Record<string, string> = { Authorization: `Bearer ${to.token}` };
		if (data) headers["Content-Type"] = "application/json";
		const response = await send(http, { agent, host: "127.0.0.1", port: to.port, method, path, headers, signal }, data);
		response.once("close", () => agent.destroy());
		return response;
	} catch (error) {
		agent.destroy();
		throw signal?.aborted ? abortError() : error;
	}
}

/** The body of a short answer; one that is longer than any proof is cut off. */
async function short(http: Http, agent: Agent, port: number, path: string, limit: AbortSignal): Promise<string> {
	const response = await send(http, { agent, host: "127.0.0.1", port, path, signal: limit }, "");
	let answer = "";
	for await (const chunk of response.setEncoding("utf8")) {
		answer += String(chunk);
		if (answer.length > MOST_PROOF_CHARS) break;
	}
	return answer;
}

function send(http: Http, options: RequestOptions, data: string): Promise<Incoming> {
	return new Promise((resolve, reject) => {
		const request = http.request(options, resolve);
		request.on("error", reject);
		request.end(data);
	});
}

/** An agent that opens one connection and never another. */
function oneConnection(http: Http): Agent {
	type Open = (options: unknown, done: (error: Error | null) => void) => unknown;
	const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
	const opener = agent as unknown as { createConnection: Open };
	const open = opener.createConnection.bind(agent);
	let opened = false;
	opener.createConnection = (options, done) => {
		if (opened) return void done(new Error("the connection is gone"));
		opened = true;
		return open(options, done);
	};
	return agent;
}
