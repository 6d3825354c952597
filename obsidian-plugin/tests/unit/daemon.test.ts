import { describe, expect, test, vi } from "vitest";
import { Api } from "../../src/daemon/api.ts";
import { loopback } from "../../src/daemon/fetchTransport.ts";
import { Model } from "../../src/daemon/model.ts";
import { Outbox, type Acceptance } from "../../src/daemon/outbox.ts";
import { findEndpoint, stateRoots, type Machine } from "../../src/daemon/places.ts";
import { notRunning, Problem } from "../../src/daemon/problem.ts";
import { SseParser, type ServerEvent } from "../../src/daemon/sse.ts";
import type { Method, Transport } from "../../src/daemon/transport.ts";

describe("server-sent events", () => {
	const wire = ': hello\n\nevent: progress\ndata: {"a":"é"}\n\ndata: one\ndata: two\r\n\r\ndata: [DONE]\n\n';

	test("come whole however the bytes are cut", () => {
		for (let size = 1; size < wire.length; size++) {
			const parser = new SseParser();
			const events: ServerEvent[] = [];
			for (let at = 0; at < wire.length; at += size) events.push(...parser.push(wire.slice(at, at + size)));
			expect(events).toEqual([
				{ name: "progress", data: '{"a":"é"}' },
				{ name: "message", data: "one\ntwo" },
				{ name: "message", data: "[DONE]" },
			]);
		}
	});
});

function machine(platform: string, files: Record<string, string>, env: Record<string, string> = {}): Machine {
	return {
		platform, env, home: platform === "win32" ? "C:\\Users\\me" : "/home/me",
		files: { read: async (path) => files[path] ?? null, realpath: async (path) => path.replace("/link", "/real"), exists: async (path) => path.startsWith("/real") },
	};
}

describe("the daemon's place", () => {
	test("is the state root of each platform", () => {
		expect(stateRoots(machine("linux", {}))).toEqual(["/home/me/.local/share/vaultgpt"]);
		expect(stateRoots(machine("linux", {}, { XDG_DATA_HOME: "/x" }))).toEqual(["/x/vaultgpt", "/home/me/.local/share/vaultgpt"]);
		expect(stateRoots(machine("darwin", {}))).toEqual(["/home/me/Library/Application Support/vaultgpt"]);
		expect(stateRoots(machine("win32", {}))).toEqual(["C:\\Users\\me\\AppData\\Local\\vaultgpt"]);
		expect(stateRoots(machine("win32", {}, { LOCALAPPDATA: "D:\\L" }))).toEqual(["D:\\L\\vaultgpt"]);
		expect(stateRoots(machine("linux", {}, { VAULTGPT_HOME: "~/v" }))).toEqual(["/home/me/v"]);
		expect(stateRoots(machine("linux", {}, { VAULTGPT_HOME: "/v" }), "/chosen")).toEqual(["/chosen"]);
	});

	const root = "/home/me/.local/share/vaultgpt";
	const files = {
		[`${root}/vaults.json`]: '{"vaults": {"/real/Diary": "diary-1", "/real": "all-2"}}',
		[`${root}/vaults/diary-1/runtime.json`]: '{"pid": 1, "port": 8123, "token": "t", "version": "0", "api": 1}',
		[`${root}/vaults/all-2/runtime.json`]: '{"pid": 1, "port": 8124, "token": "u"}',
	};

	test("is found by the vault's realpath, or by a folder above it", async () => {
		expect(await findEndpoint(machine("linux", files), "/link/Diary")).toEqual({ port: 8123, token: "t", prefix: "" });
		expect(await findEndpoint(machine("linux", files), "/real/Other/Sub")).toEqual({ port: 8124, token: "u", prefix: "Other/Sub/" });
	});

	test("is found where Obsidian is a Flatpak, which has a data folder of its own", async () => {
		const own = { XDG_DATA_HOME: "/home/me/.var/app/md.obsidian.Obsidian/data" };
		expect((await findEndpoint(machine("linux", files, own), "/real/Diary")).port).toBe(8123);
		const silent = { [`${root}/vaults.json`]: files[`${root}/vaults.json`] ?? "" };
		await expect(findEndpoint(machine("linux", silent, own), "/real/Diary")).rejects.toThrow("vaultgpt serve");
		await expect(findEndpoint(machine("linux", {}, own), "/real/Diary")).rejects.toThrow("state folder in the settings");
	});

	test("is found on Windows whatever the case", async () => {
		const home = "C:\\Users\\me\\AppData\\Local\\vaultgpt";
		const windows = {
			[`${home}\\vaults.json`]: '{"vaults": {"C:\\\\Users\\\\me\\\\Diary": "d"}}',
			[`${home}\\vaults\\d\\runtime.json`]: '{"port": 1, "token": "t"}',
		};
		expect((await findEndpoint(machine("win32", windows), "c:\\users\\ME\\diary")).port).toBe(1);
	});

	test("of a vault whose folder was renamed names the command that takes its state over", async () => {
		const renamed = { [`${root}/vaults.json`]: '{"vaults": {"/real/Other": "o", "/gone/Diary": "diary-1"}}' };
		await expect(findEndpoint(machine("linux", renamed), "/new/Diary")).rejects.toThrow('vaultgpt init "/new/Diary" --adopt "/gone/Diary"');
		const there = { [`${root}/vaults.json`]: '{"vaults": {"/real/Other": "o"}}' };
		await expect(findEndpoint(machine("linux", there), "/new/Diary")).rejects.toThrow('vaultgpt init "/new/Diary" in a terminal');
	});

	test("when it is not there says what to do", async () => {
		await expect(findEndpoint(machine("linux", {}), "/real/Diary")).rejects.toThrow("vaultgpt init");
		const silent = { [`${root}/vaults.json`]: files[`${root}/vaults.json`] ?? "" };
		await expect(findEndpoint(machine("linux", silent), "/real/Diary")).rejects.toThrow("vaultgpt serve");
		const broken = { [`${root}/vaults.json`]: "{" };
		await expect(findEndpoint(machine("linux", broken), "/real/Diary")).rejects.toThrow("vaultgpt init");
	});
});

test("only this machine's addresses can be paired", () => {
	expect(loopback("127.0.0.1:80")).toBe("http://127.0.0.1:80");
	expect(loopback("http://localhost:8123/")).toBe("http://localhost:8123");
	for (const address of ["http://example.org", "http://127.0.0.1.example.org", "https://127.0.0.1:1", "http://127.0.0.1:1/x", ""])
		expect(loopback(address)).toBeNull();
});

class Shelf {
	kept: unknown = null;

	load(): unknown {
		return JSON.parse(JSON.stringify(this.kept));
	}

	save(value: readonly Acceptance[]): void {
		this.kept = JSON.parse(JSON.stringify(value)) as unknown;
	}
}

describe("what was accepted", () => {
	test("offline is kept and reported later, once, the longest of a ghost", async () => {
		const shelf = new Shelf();
		const sent: string[] = [];
		let online = false;
		const send = async ({ text }: Acceptance) => {
			if (!online) throw notRunning("v");
			sent.push(text);
		};
		const box = new Outbox(shelf, send);
		box.put({ id: "a-1", text: "One", path: "n.md" });
		box.put({ id: "a-1", text: "One two", path: "n.md" });
		box.put({ id: "a-2", text: "Three", path: null });
		await expect(box.flush()).rejects.toThrow();
		expect(new Outbox(shelf, send).waiting).toHaveLength(2);
		online = true;
		await Promise.all([new Outbox(shelf, send).flush()]);
		expect(sent).toEqual(["One two", "Three"]);
		expect(box.waiting).toEqual([]);
	});

	test("on a damaged shelf is read as nothing", () => {
		const shelf = new Shelf();
		shelf.kept = [{ id: 1 }, "x", null];
		expect(new Outbox(shelf, async () => undefined).waiting).toEqual([]);
	});
});

/** The daemon at the seam: what it answers, and events that the test lets go. */
class Wire implements Transport {
	asked: string[] = [];
	down = false;
	waiting: ServerEvent[] = [];
	wake = () => undefined as void;

	notePath(path: string): string {
		return path;
	}

	async request(_method: Method, path: string): Promise<unknown> {
		this.asked.push(path);
		if (this.down) throw notRunning("v");
		return path === "/v1/status" ? { active: "g000002", pending_notes: this.asked.length, training: null } : {};
	}

	async *stream(): AsyncGenerator<ServerEvent> {
		if (this.down) throw notRunning("v");
		for (;;) {
			for (const event of this.waiting.splice(0)) {
				if (event.name === "end") return;
				yield event;
			}
			await new Promise<void>((resolve) => (this.wake = resolve));
		}
	}

	tell(name: string, data: unknown): void {
		this.waiting.push({ name, data: JSON.stringify(data) });
		this.wake();
	}
}

test("the model follows the daemon, loses it with a sentence and finds it again", async () => {
	const wire = new Wire();
	const reached = vi.fn();
	const model = new Model(new Api(wire));
	model.onReached(reached);
	expect(wire.asked).toEqual([]);
	void model.start();
	await vi.waitFor(() => expect(model.daemon).toMatchObject({ online: true, status: { active: "g000002" } }));
	wire.tell("progress", { phase: "train", fraction: 0.4 });
	await vi.waitFor(() => expect(model.daemon.progress).toEqual({ phase: "train", fraction: 0.4 }));
	wire.tell("verdict", {});
	await vi.waitFor(() => expect(model.daemon.progress).toBeNull());
	wire.down = true;
	wire.tell("end", {});
	await vi.waitFor(() => expect(model.daemon).toMatchObject({ online: false, problem: expect.stringContaining("vaultgpt serve") as string }), 5_000);
	wire.down = false;
	await vi.waitFor(() => expect(model.daemon.online).toBe(true), 10_000);
	expect(reached).toHaveBeenCalledTimes(2);
	model.stop();
});

test("a note that the daemon has not read yet is told of as such, and other refusals are not", async () => {
	const refusing = (status: number) => {
		const wire = { notePath: (path: string) => path, request: () => Promise.reject(new Problem("refused", "There is no such note.", status)) };
		return new Api(wire as unknown as Transport).note("Journal/new.md");
	};
	expect((await refusing(404)).why).toBe("it was not read yet, which happens a moment after it was saved");
	await expect(refusing(403)).rejects.toThrow("There is no such note.");
});
