// @vitest-environment node
// Made daemons on real ports: who listens there proves that it holds the token before it hears a word.
import { createHmac } from "node:crypto";
import http from "node:http";
import net, { type AddressInfo } from "node:net";
import { afterEach, beforeAll, expect, test, vi } from "vitest";
import { FetchTransport } from "../../src/daemon/fetchTransport.ts";
import { NodeTransport } from "../../src/daemon/nodeTransport.ts";
import type { Machine } from "../../src/daemon/places.ts";
import type { Transport } from "../../src/daemon/transport.ts";

const TOKEN = "the-token";
const PRIVATE = "Last night I dreamt";
const made: net.Server[] = [];

beforeAll(() => {
	vi.stubGlobal("window", globalThis);
});

afterEach(() => {
	vi.useRealTimers();
	for (const server of made.splice(0)) server.close();
});

async function listen(server: net.Server): Promise<number> {
	made.push(server);
	await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
	return (server.address() as AddressInfo).port;
}

function proofOf(token: string, port: number, asked: string): string {
	return createHmac("sha256", token).update(`vaultgpt health 1\n${port}\n`).update(Buffer.from(asked, "hex")).digest("hex");
}

/** Answers a challenge as it is told to, all else with "{}"; keeps what it heard. */
async function daemon(answer: (asked: string, port: number) => string, hear: string[], after?: (socket: net.Socket) => void): Promise<number> {
	let port = 0;
	const server = http.createServer((request, response) => {
		let body = "";
		request.on("data", (chunk) => (body += String(chunk)));
		request.on("end", () => {
			hear.push(`${request.url} ${JSON.stringify(request.headers)} ${body}`);
			const asked = /challenge=([0-9a-f]+)/.exec(request.url ?? "")?.[1];
			response.setHeader("Access-Control-Allow-Origin", "*");
			response.end(asked ? answer(asked, port) : "{}");
			after?.(request.socket);
		});
	});
	port = await listen(server);
	return port;
}

function transports(port: number): Transport[] {
	const files: Record<string, string> = {
		"/s/vaults.json": '{"vaults": {"/v": "v-1"}}',
		"/s/vaults/v-1/runtime.json": JSON.stringify({ port, token: TOKEN }),
	};
	const machine: Machine = {
		platform: "linux", env: { VAULTGPT_HOME: "/s" }, home: "/",
		files: { read: async (path) => files[path] ?? null, realpath: async (path) => path, exists: async () => true },
	};
	const pairing = () => ({ address: `http://127.0.0.1:${port}`, token: TOKEN });
	return [new NodeTransport(http, machine, "/v"), new FetchTransport(pairing, globalThis as unknown as Window)];
}

const good = (asked: string, port: number) => JSON.stringify({ ok: true, proof: proofOf(TOKEN, port, asked) });

test("a daemon that proves itself is asked, in Node over the very same connection", async () => {
	const heard: string[] = [];
	let sockets = 0;
	const port = await daemon(good, heard);
	made[0]?.on("connection", () => sockets++);
	for (const transport of transports(port)) {
		heard.length = sockets = 0;
		expect(await transport.request("POST", "/v1/accepted", { text: PRIVATE })).toEqual({});
		expect(heard).toHaveLength(2);
		expect(heard[0]).not.toMatch(/the-token|dreamt/);
		expect(heard[1]).toContain(PRIVATE);
		if (transport instanceof NodeTransport) expect(sockets).toBe(1);
	}
});

test.each([
	["knows nothing of proofs", () => '{"ok": true}'],
	["makes one up", () => JSON.stringify({ proof: "0".repeat(64) })],
	["has another token", (asked: string, port: number) => JSON.stringify({ proof: proofOf("another", port, asked) })],
	["passes the question on to the daemon on its own port", (asked: string, port: number) => JSON.stringify({ proof: proofOf(TOKEN, port + 1, asked) })],
	["answers with something else", () => "<html>"],
])("a program that %s gets neither token nor text, and is told of", async (_what, answer) => {
	const heard: string[] = [];
	const port = await daemon(answer, heard);
	for (const transport of transports(port)) {
		const sentence = transport instanceof NodeTransport ? `Another program listens on port ${port}` : `What listens at http://127.0.0.1:${port} does not hold the token given here`;
		await expect(transport.request("POST", "/v1/accepted", { text: PRIVATE })).rejects.toThrow(sentence);
		const streaming = transport.stream("POST", "/v1/completions", { text: PRIVATE })[Symbol.asyncIterator]();
		await expect(streaming.next()).rejects.toThrow(sentence);
	}
	expect(heard.length).toBeGreaterThanOrEqual(4);
	expect(heard.join()).not.toMatch(/the-token|dreamt|authorization/i);
});

test("when the proven connection is closed, nothing goes over another one", async () => {
	const heard: string[] = [];
	const port = await daemon(good, heard, (socket) => socket.end());
	const [node] = transports(port);
	await expect(node?.request("POST", "/v1/accepted", { text: PRIVATE })).rejects.toThrow();
	expect(heard.join()).not.toMatch(/the-token|dreamt/);
});

test("a daemon that takes the call and never answers is given up after five seconds, with a sentence", async () => {
	vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
	let called = 0;
	const port = await listen(net.createServer(() => called++));
	for (const [n, transport] of transports(port).entries()) {
		const over = expect(transport.request("GET", "/v1/status")).rejects.toThrow(`port ${port} took the call and says nothing`);
		await vi.waitFor(() => expect(called).toBe(n + 1), { timeout: 5_000, interval: 5 });
		vi.advanceTimersByTime(5_000);
		await over;
	}
});

test("a request that is called off is no failure", async () => {
	const port = await listen(net.createServer(() => undefined));
	for (const transport of transports(port)) {
		const stopper = new AbortController();
		const over = expect(transport.request("GET", "/v1/status", undefined, stopper.signal)).rejects.toMatchObject({ name: "AbortError" });
		stopper.abort();
		await over;
	}
});
