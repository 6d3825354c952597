/** From what a note says and what was asked to one request. Pure; knows nothing about the wire. */
import type { Completion } from "../daemon/api.ts";
import type { Length } from "./properties.ts";
import type { Reading } from "./voice.ts";

/** What a command asks for beyond "go on"; what it leaves out is the note's own. */
export interface Ask {
	readonly tags?: readonly string[];
	/** null asks for no date at all, undefined for the note's own. */
	readonly date?: string | null;
	readonly form?: "question";
}

export interface Preferences {
	readonly length: Length;
	readonly alternatives: number;
}

/** The note as it will be continued: its own voice, or the one asked for. */
export function voiced(reading: Reading, ask: Ask): Reading {
	const date = ask.date === undefined ? reading.date : ask.date;
	return { ...reading, tags: ask.tags ?? reading.tags, date };
}

export function completion(
	reading: Reading,
	ask: Ask,
	preferences: Preferences,
	path: string | null,
	seed: number,
): Completion {
	const { prompt, suffix, temperature, title } = reading;
	const { tags, date } = voiced(reading, ask);
	const length = reading.length ?? (ask.form === "question" ? "sentence" : preferences.length);
	return {
		prompt,
		suffix,
		n: preferences.alternatives,
		seed,
		...(temperature === null ? {} : { temperature }),
		stream: true,
		vaultgpt: {
			tags,
			...(date === undefined ? {} : { date }),
			...(title === null ? {} : { title }),
			...(path !== null && isNote(path) ? { path } : {}),
			length,
			...(ask.form ? { form: ask.form } : {}),
		},
	};
}

/** Whether the daemon can know a file: canvases and other files are no notes. */
export function isNote(path: string): boolean {
	return /\.md$/i.test(path);
}

/** The name the vault itself uses for a kind of writing: the commonest of its tags that means it. */
export function vaultTag(kind: "dream" | "poem", counts: Readonly<Record<string, number>>): string {
	const names = kind === "dream" ? ["dream", "dreams"] : ["poetry", "poem", "poems", "verse"];
	const sorted = names.filter((name) => counts[name]).sort((a, b) => (counts[b] ?? 0) - (counts[a] ?? 0));
	return sorted[0] ?? names[0] ?? kind;
}
