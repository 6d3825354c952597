// A phone's transport at its seam: which addresses it takes, what it says of a home that is silent or away.
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Problem } from "../../src/daemon/problem.ts";
import { homeAddress, PhoneTransport, type Requester } from "../../src/daemon/phoneTransport.ts";

const PAIRING = { address: "https://desk.tail1234.ts.net", token: "5".repeat(64) };

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const phone = (ask: Requester) => new PhoneTransport(() => PAIRING, ask, document);

test("an address is an HTTPS name, with a port or none, and nothing else", () => {
	expect(homeAddress(" https://Desk.tail1234.ts.net/ ")).toBe(PAIRING.address);
	expect(homeAddress("desk.tail1234.ts.net:8443")).toBe("https://desk.tail1234.ts.net:8443");
	for (const address of ["", "http://desk.ts.net", "https://desk", "https://127.0.0.1", "https://a@desk.ts.net", "https://desk.ts.net/x", "https://desk.ts.net?x", "obsidian://desk.ts.net"]) expect(homeAddress(address), address).toBeNull();
});

test("a home that says nothing is given up after five seconds, and one that is away at once; neither hears the token", async () => {
	const asked: string[] = [];
	const silent = phone((what) => (asked.push(JSON.stringify(what)), new Promise(() => undefined)));
	const failed = silent.request("GET", "/v1/status").catch((error: unknown) => error);
	await vi.advanceTimersByTimeAsync(5_000);
	expect(await failed).toMatchObject({ kind: "not running", message: expect.stringContaining("takes too long") as string });
	const away = phone((what) => (asked.push(JSON.stringify(what)), Promise.reject(new Error("net::ERR"))));
	await expect(away.request("POST", "/v1/accepted", { text: "the orchard" })).rejects.toThrow(Problem);
	expect(asked).toHaveLength(2);
	expect(asked.join()).not.toMatch(/5555|orchard|accepted/);
});

test("called off, a request is over at once, whatever comes later; a look waits for its time and ends with the app", async () => {
	const stopper = new AbortController();
	const failed = phone(() => new Promise(() => undefined)).request("GET", "/v1/status", undefined, stopper.signal).catch((error: unknown) => error);
	stopper.abort();
	expect(await failed).toMatchObject({ name: "AbortError" });
	const looks = new AbortController();
	const events = phone(() => Promise.reject(new Error())).stream("GET", "/v1/events", undefined, looks.signal)[Symbol.asyncIterator]();
	const first = events.next();
	await vi.advanceTimersByTimeAsync(60_000);
	expect((await first).value).toEqual({ name: "look", data: "" });
	const second = events.next().catch((error: unknown) => error);
	looks.abort();
	expect(await second).toMatchObject({ name: "AbortError" });
});
