/** What the daemon's answers say, read with care: a figure that is missing is null. Pure. */
import type { Generation, Label, Likeness, Piece, Progress, Status, Whose } from "./api.ts";

export function record(value: unknown): Record<string, unknown> {
	return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}

export function text(value: unknown): string | null {
	return typeof value === "string" && value !== "" ? value : null;
}

export function figure(value: unknown): number | null {
	return typeof value === "number" && Number.isFinite(value) ? value : null;
}

export function strings(value: unknown): string[] {
	return Array.isArray(value) ? value.filter((item): item is string => typeof item === "string") : [];
}

export function counts(value: unknown): Record<string, number> {
	const entries = Object.entries(record(value)).filter((entry): entry is [string, number] => figure(entry[1]) !== null);
	return Object.fromEntries(entries);
}

export function pieceOf(chunk: Record<string, unknown>): Piece | null {
	const choices = chunk["choices"];
	const choice = record(Array.isArray(choices) ? choices[0] : null);
	const words = choice["text"];
	if (typeof words !== "string") return null;
	const label = record(chunk["vaultgpt"])["label"];
	const piece = { index: figure(choice["index"]) ?? 0, text: words, done: choice["finish_reason"] != null };
	return label ? { ...piece, label: labelOf(label) } : piece;
}

/** Where each character of a text begins, and its end: the daemon counts characters, JavaScript code units. */
export function codeUnits(text: string): number[] {
	const units = [0];
	for (const character of text) units.push((units.at(-1) ?? 0) + character.length);
	return units;
}

export function likenessOf({ refused, sentences }: Record<string, unknown>): Likeness {
	const rows = Array.isArray(sentences) ? sentences.map(record) : [];
	const judged = rows.map(({ start, end, gain }) => ({ start: figure(start) ?? 0, end: figure(end) ?? 0, gain: figure(gain) ?? 0 }));
	return { refused: text(record(refused)["why"]), sentences: judged.filter(({ start, end }) => start < end) };
}

export function whoseOf(value: Record<string, unknown>): Whose {
	const count = (key: string) => figure(value[key]) ?? 0;
	return { words: count("words"), mirror: count("mirror"), edited: count("edited") };
}

export function labelOf(value: unknown): Label {
	const { tags, date, title, refused, skip, warning } = record(value);
	return { tags: strings(tags), date: text(date), title: text(title), refused: text(record(refused)["why"]), skip: figure(skip) ?? 0, warning: text(warning) };
}

export function statusOf(value: Record<string, unknown>): Status {
	return {
		active: text(value["active"]) ?? text(record(value["active"])["id"]),
		writes: text(value["writes"]),
		pending: figure(value["pending_notes"]) ?? 0,
		training: value["training"] ? progressOf(value["training"]) : null,
		next: nextOf(value["next_training"]),
		paused: pausedOf(value["paused_round"], value["next_training"]),
		lastVerdict: text(value["last_verdict"]) ?? text(record(value["last_verdict"])["why"]),
		problems: strings(value["problems"]),
		version: text(value["version"]),
	};
}

export function progressOf(value: unknown): Progress {
	const { phase, fraction } = record(value);
	return { phase: text(phase) ?? "", fraction: Math.min(1, Math.max(0, figure(fraction) ?? 0)) };
}

function pausedOf(value: unknown, next: unknown): Status["paused"] {
	const [fraction, at] = [figure(record(value)["fraction"]), figure(record(next)["when"])];
	return fraction === null ? null : { fraction, at: at === null ? null : new Date(at * 1000) };
}

/** When the next round is due, and the daemon's sentence about it. */
function nextOf(value: unknown): string | null {
	const { when, why } = record(value);
	const at = figure(when);
	const clock = at === null ? null : new Date(at * 1000).toLocaleString([], { weekday: "short", hour: "2-digit", minute: "2-digit" });
	return [clock, text(why)].filter(Boolean).join(". ") || null;
}

export function generationOf(row: Record<string, unknown>): Generation {
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
