// The desktop's transport in Node against the real daemon: discovery, streaming, stopping, moving.
import { beforeAll, expect, inject, test, vi } from "vitest";
import { Api, type Completion, type Piece } from "../../src/daemon/api.ts";
import { Model } from "../../src/daemon/model.ts";
import { machineOf, NodeTransport } from "../../src/daemon/nodeTransport.ts";
import type { Machine } from "../../src/daemon/places.ts";
import { Daemon } from "./daemon.ts";
import { vaultgpt, own } from "./stage.ts";

const stage = own(inject("stages"));
let daemon: Daemon;
let api: Api;

beforeAll(async () => {
	vi.stubGlobal("window", globalThis);
	daemon = await Daemon.of(stage);
	api = new Api(await transport());
});

async function transport(): Promise<NodeTransport> {
	const [http, fs, os] = await Promise.all([import("node:http"), import("node:fs/promises"), import("node:os")]);
	const machine: Machine = { ...machineOf({ http, fs, os, process }), env: { VAULTGPT_HOME: stage.home } };
	return new NodeTransport(http, machine, stage.vault);
}

function asked(length = "sentence", n = 1, path: string | null = null): Completion {
	const text = "Last night I was";
	return { n, seed: 11, stream: true, vaultgpt: { tags: ["dream"], note: { path, text, cursor: text.length, length } } };
}

async function joined(pieces: AsyncIterable<Piece>, count: number): Promise<string[]> {
	const texts = Array.from({ length: count }, () => "");
	for await (const { index, text } of pieces) texts[index] += text;
	return texts;
}

test("finds the daemon by its runtime.json and reads what it says", async () => {
	expect((await api.status()).active).toBe(stage.generation);
	expect((await api.generations()).map(({ id }) => id)).toContain(stage.generation);
	expect((await api.census()).tags["dream"]).toBeGreaterThan(3);
	expect((await api.note("Dreams/2021-06-19 Lanes.md")).used).toBe(true);
	const unsaved = await api.note("Dreams/None.md");
	expect([unsaved.used, unsaved.why]).toEqual([false, expect.stringContaining("was not read yet")]);
});

test("a generation is activated, and one that is not there is refused in words", async () => {
	await api.activate(stage.generation);
	await expect(api.activate("g999999")).rejects.toMatchObject({ kind: "refused", status: 404 });
	expect((await api.status()).active).toBe(stage.generation);
});

test("streams the same text that the whole answer has", async () => {
	const body = asked("sentence", 3);
	const texts = await joined(api.complete(body, new AbortController().signal), 3);
	expect(texts.every((text) => text.trim() !== "")).toBe(true);
	expect(texts).toEqual(await daemon.texts(body));
});

test("a refusal is told in the daemon's own words", async () => {
	const body = asked("sentence", 1, "../outside.md");
	await expect(joined(api.complete(body, new AbortController().signal), 1)).rejects.toThrow("leads out of the vault");
});

test("calling a stream off stops the daemon", async () => {
	const before = await daemon.metric("vaultgpt_cancelled_total");
	const stopper = new AbortController();
	const body = asked("page", 4);
	const over = (async () => {
		for await (const piece of api.complete(body, stopper.signal)) if (piece.text) stopper.abort();
	})();
	await expect(over).rejects.toMatchObject({ name: "AbortError" });
	await vi.waitFor(async () => expect(await daemon.metric("vaultgpt_cancelled_total")).toBe(before + 1), 10_000);
	await expect.poll(() => daemon.metric("vaultgpt_writing")).toBe(0);
});

test("what was accepted is taken in", async () => {
	await api.accepted("and the sea was in the kitchen again", "Dreams/2021-06-19 Lanes.md");
	const { vaultgpt } = asked();
	expect(await api.warm(vaultgpt, new AbortController().signal)).toEqual(await api.label(vaultgpt));
});

test("a daemon that moved is found by itself, and one that dies breaks the stream off", async () => {
	const model = new Model(api);
	void model.start();
	await vi.waitFor(() => expect(model.daemon.online).toBe(true), 10_000);
	const first = daemon.port;
	const body = asked("page");
	const texts: string[] = [];
	const over = (async () => {
		for await (const { text } of api.complete(body, new AbortController().signal)) {
			texts.push(text);
			if (texts.length === 3) await daemon.kill("SIGKILL");
		}
	})();
	await expect(over).rejects.toMatchObject({ kind: "broken off" });
	expect(texts.length).toBeGreaterThanOrEqual(3);
	await expect(api.status()).rejects.toMatchObject({ kind: "not running" });
	await vi.waitFor(() => expect(model.daemon.online).toBe(false), 10_000);
	daemon = await Daemon.start(stage);
	expect(daemon.port).not.toBe(first);
	expect((await api.status()).active).toBe(stage.generation);
	await vi.waitFor(() => expect(model.daemon.online).toBe(true), 30_000);
	model.stop();
});

test("a rotated token is read anew", async () => {
	// Whatever the command says of the running daemon: the old token must be void, the new one found.
	await vaultgpt(stage.home, "token", stage.vault, "--rotate").catch(() => "");
	const token = (await vaultgpt(stage.home, "token", stage.vault)).trim();
	expect(token).not.toBe(daemon.token);
	await expect(daemon.get("/v1/status")).rejects.toThrow("401");
	expect((await api.status()).active).toBe(stage.generation);
});
