/**
 * The daemon's routes as typed calls. What comes over the wire is read with care: a figure that is
 * missing is null. Knows nothing about how the bytes travel.
 */
import { brokenOff, messageOf, Problem } from "./problem.ts";
import type { Transport } from "./transport.ts";

export interface Completion {
	readonly prompt: string;
	readonly suffix: string;
	readonly n: number;
	readonly seed: number;
	readonly temperature?: number;
	readonly stream: true;
	readonly vaultgpt: {
		readonly tags: readonly string[];
		/** Left out: the daemon takes the note's own. null: none. */
		readonly date?: string | null;
		readonly title?: string;
		readonly path?: string;
		readonly length: string;
		readonly form?: "question";
	};
}

export interface Piece {
	readonly index: number;
	readonly text: string;
	readonly done: boolean;
}

/** How far a round is; a phase is "read", "load", "evaluate", "train" or "measure". */
export interface Progress {
	readonly phase: string;
	readonly fraction: number;
}

export interface Status {
	readonly active: string | null;
	readonly pending: number;
	readonly training: Progress | null;
	readonly next: string | null;
	readonly lastVerdict: string | null;
	/** What went wrong in the daemon and still stands, a sentence each. */
	readonly problems: readonly string[];
}

export interface Generation {
	readonly id: string;
	readonly created: number;
	readonly active: boolean;
	readonly barred: boolean;
	readonly promoted: boolean;
	readonly why: string;
	readonly heldOut: number | null;
}

export interface NoteAnswer {
	readonly used: boolean;
	readonly why: string;
	readonly heldOut: boolean | null;
	/** The date that its path means, as "2019-03" or "2019". */
	readonly pathDate: string | null;
	readonly problem: string | null;
}

export interface Census {
	readonly tags: Readonly<Record<string, number>>;
	readonly years: Readonly<Record<string, number>>;
}

export class Api {
	constructor(readonly transport: Transport) {}

	/** Pieces until the daemon says [DONE]. Throws Problem when it ends before. */
	async *complete(body: Completion, signal: AbortSignal): AsyncGenerator<Piece> {
		for await (const { name, data } of this.transport.stream("POST", "/v1/completions", this.placed(body), signal)) {
			if (name === "error") throw new Problem("broken off", messageOf(data) ?? brokenOff().message);
			if (data === "[DONE]") return;
			const piece = pieceOf(record(JSON.parse(data)));
			if (piece) yield piece;
		}
		throw brokenOff();
	}

	async warm(body: Completion, signal: AbortSignal): Promise<void> {
		const { prompt, suffix, vaultgpt } = this.placed(body);
		await this.transport.request("POST", "/v1/warm", { prompt, suffix, vaultgpt }, signal);
	}

	/** The same request, with the note's path as the daemon knows it. */
	private placed(body: Completion): Completion {
		const { path } = body.vaultgpt;
		return path === undefined ? body : { ...body, vaultgpt: { ...body.vaultgpt, path: this.transport.notePath(path) } };
	}

	async status(): Promise<Status> {
		return statusOf(record(await this.transport.request("GET", "/v1/status")));
	}

	async generations(): Promise<Generation[]> {
		const rows = record(await this.transport.request("GET", "/v1/generations"))["generations"];
		return Array.isArray(rows) ? rows.map((row) => generationOf(record(row))) : [];
	}

	/** The last round's report and verdict as the daemon has it; null before the first. */
	async report(): Promise<Record<string, unknown> | null> {
		try {
			return record(await this.transport.request("GET", "/v1/report"));
		} catch (error) {
			if (error instanceof Problem && error.status === 404) return null;
			throw error;
		}
	}

	async census(): Promise<Census> {
		const value = record(await this.transport.request("GET", "/v1/tags"));
		return { tags: counts(value["tags"]), years: counts(value["years"]) };
	}

	async note(path: string): Promise<NoteAnswer> {
		const query = encodeURIComponent(this.transport.notePath(path));
		const value = record(await this.transport.request("GET", `/v1/notes?path=${query}`));
		return {
			used: value["used"] === true,
			why: text(value["why"]) ?? "",
			heldOut: typeof value["held_out"] === "boolean" ? value["held_out"] : null,
			pathDate: text(value["path_date"])?.slice(0, 7) ?? null,
			problem: text(value["problem"]),
		};
	}

	async accepted(words: string, path: string | null): Promise<void> {
		const note = path === null ? {} : { path: this.transport.notePath(path) };
		await this.transport.request("POST", "/v1/accepted", { text: words, ...note });
	}

	async train(): Promise<void> {
		await this.transport.request("POST", "/v1/train", {});
	}

	async cancelTraining(): Promise<void> {
		await this.transport.request("POST", "/v1/train/cancel", {});
	}

	async activate(generation: string): Promise<void> {
		await this.transport.request("POST", `/v1/generations/${encodeURIComponent(generation)}/activate`, {});
	}
}

export function record(value: unknown): Record<string, unknown> {
	return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}

export function text(value: unknown): string | null {
	return typeof value === "string" && value !== "" ? value : null;
}

export function figure(value: unknown): number | null {
	return typeof value === "number" && Number.isFinite(value) ? value : null;
}

function strings(value: unknown): string[] {
	return Array.isArray(value) ? value.filter((item): item is string => typeof item === "string") : [];
}

function counts(value: unknown): Record<string, number> {
	const entries = Object.entries(record(value)).filter((entry): entry is [string, number] => figure(entry[1]) !== null);
	return Object.fromEntries(entries);
}

function pieceOf(chunk: Record<string, unknown>): Piece | null {
	const choices = chunk["choices"];
	const choice = record(Array.isArray(choices) ? choices[0] : null);
	const words = choice["text"];
	if (typeof words !== "string") return null;
	return { index: figure(choice["index"]) ?? 0, text: words, done: choice["finish_reason"] != null };
}

function statusOf(value: Record<string, unknown>): Status {
	return {
		active: text(value["active"]) ?? text(record(value["active"])["id"]),
		pending: figure(value["pending_notes"]) ?? 0,
		training: value["training"] ? progressOf(value["training"]) : null,
		next: nextOf(value["next_training"]),
		lastVerdict: text(value["last_verdict"]) ?? text(record(value["last_verdict"])["why"]),
		problems: strings(value["problems"]),
	};
}

export function progressOf(value: unknown): Progress {
	const { phase, fraction } = record(value);
	return { phase: text(phase) ?? "", fraction: Math.min(1, Math.max(0, figure(fraction) ?? 0)) };
}

/** When the next round is due, and the daemon's sentence about it. */
function nextOf(value: unknown): string | null {
	const { when, why } = record(value);
	const at = figure(when);
	const clock = at === null ? null : new Date(at * 1000).toLocaleString([], { weekday: "short", hour: "2-digit", minute: "2-digit" });
	return [clock, text(why)].filter(Boolean).join(". ") || null;
}

function generationOf(row: Record<string, unknown>): Generation {
	return {
		id: text(row["id"]) ?? "?",
		created: figure(row["created"]) ?? 0,
		active: row["active"] === true,
		barred: row["barred"] === true,
		promoted: row["promoted"] !== false,
		why: text(row["why"]) ?? "",
		heldOut: figure(row["held_out"]),
	};
}
