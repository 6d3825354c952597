/**
 * The daemon's routes as typed calls. Knows nothing about how the bytes travel.
 */
import { counts, figure, generationOf, labelOf, likenessOf, pieceOf, record, statusOf, text, whoseOf } from "./answers.ts";
import { brokenOff, messageOf, Problem } from "./problem.ts";
import type { OpenNote } from "../note/openNote.ts";
import type { Transport } from "./transport.ts";

/** What a note is written on from, and how much. */
export interface Asked {
	/** With `may_skip` the text is put where the label's `skip` says. */
	readonly note: OpenNote & { readonly length: string; readonly may_skip?: true };
	readonly tags?: readonly string[];
	/** Left out: the note's own. null: none. */
	readonly date?: string | null;
	readonly form?: "question";
	/** Left out: the note's own, or what goes with it. */
	readonly length?: "clause";
}

export interface Completion {
	readonly n: number;
	readonly seed: number;
	readonly stream: true;
	readonly temperature?: number;
	readonly vaultgpt: Asked;
}

/** How a note reads at its cursor. */
export interface Label {
	readonly tags: readonly string[];
	readonly date: string | null;
	readonly title: string | null;
	/** Why nothing is written there; null where something is. */
	readonly refused: string | null;
	/** How far after the cursor the text is to stand, as below a heading's underline. */
	readonly skip: number;
	/** What to expect there, as of a language that the base has not read. */
	readonly warning: string | null;
}

export interface Piece {
	readonly index: number;
	readonly text: string;
	readonly done: boolean;
	/** With the first piece of a stream: the voice it is written in. */
	readonly label?: Label;
}

/** How far a round is; a phase is "read", "load", "evaluate", "train" or "measure". */
export interface Progress {
	readonly phase: string;
	readonly fraction: number;
}

export interface Status {
	readonly active: string | null;
	/** The voice that writes; null is the base. */
	readonly writes: string | null;
	readonly pending: number;
	readonly training: Progress | null;
	readonly next: string | null;
	/** A full round that goes on another night, and when; the seconds that are left of it. */
	readonly paused: { readonly fraction: number; readonly at: Date | null } | null;
	readonly lastVerdict: string | null;
	/** What went wrong in the daemon and still stands, a sentence each. */
	readonly problems: readonly string[];
	/** Of vaultgpt. */
	readonly version: string | null;
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
	readonly keptAside: "all" | "part" | null; // to measure with
	readonly problem: string | null;
}

/** One of the vault's settings, as the daemon tells of it. */
export interface Option {
	readonly key: string;
	readonly type: "boolean" | "integer" | "number" | "text" | "list";
	readonly value: boolean | number | string | readonly string[];
	readonly default: Option["value"];
	readonly bounds: { readonly low?: number; readonly high?: number } | null;
	readonly unit: string;
	readonly sentence: string;
}

/** Of so many words: what the mirror wrote and the author took, and what of it was changed since. */
export interface Whose {
	readonly words: number;
	readonly mirror: number;
	readonly edited: number;
}

/** Whose words stand in a note as it lies on the disk. */
export interface Provenance extends Whose {
	readonly sha256: string;
	/** In characters, not in JavaScript's code units. */
	readonly spans: readonly { readonly start: number; readonly end: number; readonly kind: "mirror" | "edited" }[];
}

/** One of the author's sentences, in the editor's own positions. */
export interface JudgedSentence {
	readonly start: number;
	readonly end: number;
	/** 0.1: it surprises the voice 10 % less than the base; below zero more. */
	readonly gain: number;
}

export interface Likeness {
	/** Why nothing is compared; null where something is. */
	readonly refused: string | null;
	readonly sentences: readonly JudgedSentence[];
}

export interface Census {
	readonly tags: Readonly<Record<string, number>>;
	readonly years: Readonly<Record<string, number>>;
}

export class Api {
	constructor(readonly transport: Transport) {}

	/** Pieces until the daemon says [DONE]. Throws Problem when it ends before. */
	async *complete(body: Completion, signal: AbortSignal): AsyncGenerator<Piece> {
		const asked = { ...body, vaultgpt: this.placed(body.vaultgpt) };
		for await (const { name, data } of this.transport.stream("POST", "/v1/completions", asked, signal)) {
			if (name === "error") throw new Problem("broken off", messageOf(data) ?? brokenOff().message);
			if (data === "[DONE]") return;
			const piece = pieceOf(record(JSON.parse(data)));
			if (piece) yield piece;
		}
		throw brokenOff();
	}

	/** Let the daemon read ahead; what comes back is how the note reads. */
	async warm(vaultgpt: Asked, signal: AbortSignal): Promise<Label> {
		const answer = await this.transport.request("POST", "/v1/warm", { vaultgpt: this.placed(vaultgpt) }, signal);
		return labelOf(record(answer)["label"]);
	}

	/** How the note reads at its cursor; nothing is prepared for it. */
	async label(vaultgpt: Asked): Promise<Label> {
		const answer = await this.transport.request("POST", "/v1/label", { vaultgpt: this.placed(vaultgpt) });
		return labelOf(record(answer)["label"]);
	}

	/** The same request, with the note's path as the daemon knows it. */
	private placed(asked: Asked): Asked {
		const { path } = asked.note;
		return path === null ? asked : { ...asked, note: { ...asked.note, path: this.transport.notePath(path) } };
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
		const value = await this.transport.request("GET", `/v1/notes?path=${query}`).then(record, unread);
		return {
			used: value["used"] === true,
			why: text(value["why"]) ?? "",
			keptAside: value["kept_aside"] === "all" || value["kept_aside"] === "part" ? value["kept_aside"] : null,
			problem: text(value["problem"]),
		};
	}

	async provenance(path: string): Promise<Provenance> {
		const query = encodeURIComponent(this.transport.notePath(path));
		const value = record(await this.transport.request("GET", `/v1/notes/provenance?path=${query}`));
		const spans = Array.isArray(value["spans"]) ? (value["spans"] as Provenance["spans"]) : [];
		return { sha256: text(value["sha256"]) ?? "", ...whoseOf(value), spans };
	}

	/** Whose words stand in the vault, by "2026-11"; "" is for those without a date. */
	async months(): Promise<Record<string, Whose>> {
		const rows = record(record(await this.transport.request("GET", "/v1/provenance"))["months"]);
		return Object.fromEntries(Object.entries(rows).map(([month, row]) => [month, whoseOf(record(row))]));
	}

	async accepted(words: string, path: string | null): Promise<void> {
		const note = path === null ? {} : { path: this.transport.notePath(path) };
		await this.transport.request("POST", "/v1/accepted", { text: words, ...note });
	}

	/** Which sentences of a note are the author's, and how like them each is. Nothing is written. */
	async likeness(path: string | null, words: string, signal: AbortSignal): Promise<Likeness> {
		const note = { path: path === null ? null : this.transport.notePath(path), text: words };
		return likenessOf(record(await this.transport.request("POST", "/v1/likeness", note, signal)));
	}

	async options(): Promise<readonly Option[]> {
		const rows = record(await this.transport.request("GET", "/v1/options"))["options"];
		return Array.isArray(rows) ? (rows as Option[]) : [];
	}

	/** Set one; Problem with the daemon's own sentence where it is refused. */
	async setOption(key: string, value: Option["value"]): Promise<void> {
		await this.transport.request("POST", "/v1/options", { key, value });
	}

	/** Starts a round; a sentence about how long it takes, where that is long. */
	async train(): Promise<string | null> {
		const begun = record(await this.transport.request("POST", "/v1/train", {}));
		return figure(begun["takes_s"]) === null ? null : text(begun["why"]);
	}

	async cancelTraining(): Promise<void> {
		await this.transport.request("POST", "/v1/train/cancel", {});
	}

	async activate(generation: string): Promise<void> {
		await this.transport.request("POST", `/v1/generations/${encodeURIComponent(generation)}/activate`, {});
	}
}

/** A note that the daemon does not know yet, as it would answer about one that it leaves out. */
function unread(error: unknown): Record<string, unknown> {
	if (error instanceof Problem && error.status === 404) return { used: false, why: "it was not read yet, which happens a moment after it was saved" };
	throw error;
}
