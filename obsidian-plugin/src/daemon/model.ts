/**
 * What the daemon is doing, kept up by its event stream, for the status bar and the side view.
 * Asks nothing before start(). Knows nothing about how it is shown.
 */
import { progressOf } from "./answers.ts";
import type { Api, Census, Generation, Progress, Status } from "./api.ts";
import { isAbort, sentenceOf } from "./problem.ts";
import type { ServerEvent } from "./sse.ts";

export interface Daemon {
	readonly online: boolean;
	readonly problem: string | null;
	readonly status: Status | null;
	readonly progress: Progress | null;
	readonly census: Census | null;
	/** Those that are kept, newest first. */
	readonly generations: readonly Generation[];
}

/** Times in milliseconds between two tries to reach the daemon. */
const RETRY_MS = [1_000, 2_000, 5_000, 10_000];

export class Model {
	daemon: Daemon = { online: false, problem: null, status: null, progress: null, census: null, generations: [] };
	private readonly listeners = new Set<(daemon: Daemon) => void>();
	private readonly reached = new Set<() => void>();
	private stopper = new AbortController();

	constructor(
		private readonly api: Api,
		private readonly retryMs = RETRY_MS,
	) {}

	/** Hear of every change until the function that comes back is called. */
	subscribe(listener: (daemon: Daemon) => void): () => void {
		this.listeners.add(listener);
		return () => this.listeners.delete(listener);
	}

	/** Hear that a daemon was found, or found again: what it knows of the vault may be new. */
	onReached(listener: () => void): () => void {
		this.reached.add(listener);
		return () => this.reached.delete(listener);
	}

	/** Listen until stop(); a daemon that went away or moved is found again. */
	async start(): Promise<void> {
		this.stopper = new AbortController();
		const { signal } = this.stopper;
		for (let tries = 0; !signal.aborted; tries++) {
			try {
				await this.listen(signal, () => (tries = 0));
				this.set({ online: false, progress: null });
			} catch (error) {
				if (isAbort(error) || signal.aborted) return;
				this.set({ online: false, progress: null, problem: sentenceOf(error) });
			}
			await pause(this.retryMs[Math.min(tries, this.retryMs.length - 1)] ?? 10_000, signal);
		}
	}

	stop(): void {
		this.stopper.abort();
	}

	/** Ask anew what stands, as after an act of ours. */
	async refresh(): Promise<void> {
		const status = await this.api.status();
		const [census, generations] = await Promise.all([
			this.api.census().catch(() => this.daemon.census),
			this.api.generations().catch(() => this.daemon.generations),
		]);
		this.set({ online: true, problem: null, status, census, generations, progress: status.training });
	}

	private async listen(signal: AbortSignal, connected: () => void): Promise<void> {
		const events = this.api.transport.stream("GET", "/v1/events", undefined, signal)[Symbol.asyncIterator]();
		let next = events.next(); // connects now, so that nothing is missed while status is asked
		next.catch(() => undefined);
		await this.refresh();
		for (const listener of this.reached) listener();
		connected();
		for (let event = await next; !event.done; event = await next) {
			next = events.next();
			next.catch(() => undefined);
			await this.hear(event.value);
		}
	}

	private async hear({ name, data }: ServerEvent): Promise<void> {
		if (name === "progress") {
			this.set({ progress: progressOf(JSON.parse(data)) });
			return;
		}
		if (name === "verdict" || name === "error") this.set({ progress: null });
		await this.refresh();
	}

	private set(change: Partial<Daemon>): void {
		this.daemon = { ...this.daemon, ...change };
		for (const listener of this.listeners) listener(this.daemon);
	}
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
	return new Promise((resolve) => {
		const over = () => {
			window.clearTimeout(timer);
			signal.removeEventListener("abort", over);
			resolve();
		};
		const timer = window.setTimeout(over, ms);
		signal.addEventListener("abort", over);
	});
}
