/**
 * Every continuation of a note since Obsidian was opened, as a tree: what follows what was taken is its
 * child. In memory alone. Knows nothing about editors or how it is shown.
 */
export interface Branch {
	readonly id: string;
	/** The branch that was taken before it; null for one that follows the author's own words. */
	readonly parent: Branch | null;
	/** What stood before it in the note. */
	readonly before: string;
	readonly text: string;
	/** What the note has of it. */
	readonly taken: string;
}

/** Characters by which a place is known again, and branches that one note keeps. */
export const SAME_CHARS = 80;
const MOST = 200;
const WORD = /\s*\S+/g;

export class Branches {
	private readonly known = new WeakMap<object, Branch[]>();
	private readonly listeners = new Set<() => void>();

	onChange(listener: () => void): () => void {
		this.listeners.add(listener);
		return () => this.listeners.delete(listener);
	}

	/** In the order in which a tree is read: each before its children. */
	of(note: object): Branch[] {
		const all = this.known.get(note) ?? [];
		const below = (parent: Branch | null): Branch[] => all.filter((branch) => branch.parent?.id === parent?.id).flatMap((branch) => [branch, ...below(branch)]);
		return below(null);
	}

	/** The alternatives of continuation `id` as they are now. */
	keep(note: object, id: number, before: string, texts: readonly string[]): void {
		const all = this.known.get(note) ?? [];
		const place = before.slice(-SAME_CHARS);
		const parent = [...all].reverse().find((branch) => branch.taken !== "" && place.endsWith(branch.taken.slice(-SAME_CHARS / 2)));
		for (const [index, text] of texts.entries()) {
			if (text.trim() === "") continue;
			const old = all.findIndex((branch) => branch.id === `${id}.${index}`);
			if (old >= 0) all[old] = { ...(all[old] as Branch), text };
			else all.push({ id: `${id}.${index}`, parent: parent ?? null, before: place, text, taken: "" });
		}
		this.known.set(note, all.slice(-MOST));
		this.tell();
	}

	/** The note has `taken` of branch `id` now. */
	take(note: object, id: string, taken: string): void {
		const all = this.known.get(note) ?? [];
		const at = all.findIndex((branch) => branch.id === id);
		if (at < 0) return;
		all[at] = { ...(all[at] as Branch), taken };
		this.tell();
	}

	private tell(): void {
		for (const listener of this.listeners) listener();
	}
}

export function depthOf({ parent }: Branch): number {
	return parent ? 1 + depthOf(parent) : 0;
}

/** The first `count` words of a text, with the white space before each. */
export function firstWords(text: string, count: number): string {
	return (text.match(WORD) ?? []).slice(0, count).join("");
}

export function wordsIn(text: string): number {
	return (text.match(WORD) ?? []).length;
}

/** Where in a note a branch begins: at the cursor if it fits there, else where nothing else fits; null for nowhere. */
export function placeOf({ before }: Branch, note: string, cursor: number): number | null {
	if (note.slice(0, cursor).endsWith(before)) return cursor;
	const first = note.indexOf(before);
	return first >= 0 && before !== "" && note.lastIndexOf(before) === first ? first + before.length : null;
}
