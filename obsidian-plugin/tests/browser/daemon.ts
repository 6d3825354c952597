// The real daemon as a process of its own: found or started, asked, killed, started again.
import { spawn } from "node:child_process";
import { openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { environment, python, stateOf, type Stage } from "./stage.ts";

const START_MS = 120_000;
/** Between two looks at a process that starts or ends. */
const LOOK_MS = 20;

type Place = Pick<Stage, "root" | "vault" | "home" | "owner">;

/** Runs a command until it ends or the process `$1` does: a suite that was killed leaves no daemon. */
const GUARD = 'owner=$1; shift; "$@" & child=$!; while kill -0 $owner 2>/dev/null && kill -0 $child 2>/dev/null; do sleep 1; done; kill $child 2>/dev/null';

export class Daemon {
	private constructor(
		private readonly pid: number,
		readonly port: number,
		readonly token: string,
	) {}

	/** The one that runs; a file of tests leaves it to the next, with its mirror awake. */
	static async of(stage: Place): Promise<Daemon> {
		return Daemon.found(stage) ?? Daemon.start(stage);
	}

	/** The one that runs, as its runtime.json tells; null for none. */
	static found(stage: Place): Daemon | null {
		try {
			const { pid, port, token } = JSON.parse(readFileSync(join(stateOf(stage), "runtime.json"), "utf8")) as { pid: number; port: number; token: string };
			return lives(pid) ? new Daemon(pid, port, token) : null;
		} catch {
			return null;
		}
	}

	/** Starts it, on any free port where none is given, and waits until it can be asked. */
	static async start(stage: Place, port = 0): Promise<Daemon> {
		const log = join(stage.root, "serve.log");
		const out = openSync(log, "w");
		const serve = [python(), "-m", "vaultgpt", "serve", stage.vault, ...(port ? ["--port", String(port)] : [])];
		const [command = "", ...args] = process.platform === "win32" ? serve : ["sh", "-c", GUARD, "sh", String(stage.owner), ...serve];
		const child = spawn(command, args, { env: environment(stage.home), stdio: ["ignore", out, out] });
		child.unref();
		for (const until = Date.now() + START_MS; Date.now() < until && child.exitCode === null; await pause(LOOK_MS)) {
			const found = Daemon.found(stage);
			if (found && (await fetch(`${found.address}/health`).catch(() => null))?.ok) return found;
		}
		throw new Error(`The daemon did not start: ${readFileSync(log, "utf8")}`);
	}

	get address(): string {
		return `http://127.0.0.1:${this.port}`;
	}

	async get(path: string): Promise<Record<string, unknown>> {
		return this.answer(await fetch(this.address + path, { headers: this.headers() }));
	}

	async post(path: string, body: unknown): Promise<Record<string, unknown>> {
		const headers = { ...this.headers(), "Content-Type": "application/json" };
		return this.answer(await fetch(this.address + path, { method: "POST", headers, body: JSON.stringify(body) }));
	}

	/** The same request without a stream: its whole texts, by alternative. */
	async texts(request: object): Promise<string[]> {
		const answer = await this.post("/v1/completions", { ...request, stream: false });
		const choices = answer["choices"] as { index: number; text: string }[];
		return choices.sort((a, b) => a.index - b.index).map(({ text }) => text);
	}

	/** A counter of /metrics, summed over its labels. */
	async metric(name: string): Promise<number> {
		const text = await (await fetch(`${this.address}/metrics`, { headers: this.headers() })).text();
		const lines = text.split("\n").filter((line) => line.startsWith(name));
		return lines.reduce((sum, line) => sum + Number(line.split(" ").pop()), 0);
	}

	async kill(signal: "SIGKILL" | "SIGTERM" = "SIGTERM"): Promise<void> {
		if (lives(this.pid)) process.kill(this.pid, signal);
		while (lives(this.pid)) await pause(LOOK_MS);
	}

	private headers(): Record<string, string> {
		return { Authorization: `Bearer ${this.token}` };
	}

	private async answer(response: Response): Promise<Record<string, unknown>> {
		const value = (await response.json()) as Record<string, unknown>;
		if (!response.ok) throw new Error(`${response.status}: ${JSON.stringify(value)}`);
		return value;
	}
}

function lives(pid: number): boolean {
	try {
		return process.kill(pid, 0);
	} catch {
		return false;
	}
}
