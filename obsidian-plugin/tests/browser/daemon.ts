// The real daemon as a process of ours: started, asked, killed, started again elsewhere.
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { setTimeout as pause } from "node:timers/promises";
import { environment, python, type Stage } from "./stage.ts";

const START_MS = 120_000;

export class Daemon {
	private constructor(
		private readonly child: ChildProcess,
		readonly port: number,
		readonly token: string,
	) {}

	/** Starts it on any free port, and waits until the mirror can be asked. */
	static async start(stage: Stage, token: string): Promise<Daemon> {
		const child = spawn(python(), ["-m", "vaultgpt", "serve", stage.vault], { env: environment(stage.home), stdio: ["ignore", "pipe", "pipe"] });
		let said = "";
		child.stdout.on("data", (chunk: Buffer) => (said += chunk.toString()));
		child.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()));
		const until = Date.now() + START_MS;
		for (let found = null; ; found = /http:\/\/127\.0\.0\.1:(\d+)/.exec(said)) {
			if (found) return new Daemon(child, Number(found[1]), token);
			if (child.exitCode !== null || Date.now() > until) throw new Error(`The daemon did not start: ${said}`);
			await pause(50);
		}
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
		if (this.child.exitCode !== null || this.child.signalCode !== null) return;
		const over = once(this.child, "exit");
		this.child.kill(signal);
		await over;
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
