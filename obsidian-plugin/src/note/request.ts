/** From a note and what was asked to one request. Pure; knows nothing about the wire. */
import type { Completion } from "../daemon/api.ts";
import type { OpenNote } from "./openNote.ts";

export type Length = "sentence" | "paragraph" | "page";

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

export function completion(note: OpenNote, ask: Ask, preferences: Preferences, seed: number): Completion {
	const length = ask.form === "question" ? "sentence" : preferences.length;
	return { n: preferences.alternatives, seed, stream: true, vaultgpt: { ...ask, note: { ...note, length } } };
}

/** The name the vault itself uses for a kind of writing: the commonest of its tags that means it. */
export function vaultTag(kind: "dream" | "poem", counts: Readonly<Record<string, number>>): string {
	const names = kind === "dream" ? ["dream", "dreams"] : ["poetry", "poem", "poems", "verse"];
	const sorted = names.filter((name) => counts[name]).sort((a, b) => (counts[b] ?? 0) - (counts[a] ?? 0));
	return sorted[0] ?? names[0] ?? kind;
}
