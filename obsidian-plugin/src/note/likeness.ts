/**
 * A note's prose in sentences, and how like its author each one is: by what share it surprises the voice
 * less than the base it was learned on, as the report says it. Pure; knows nothing about the daemon.
 */
export interface Sentence {
	/** Where it stands in the note, in UTF-16 code units. */
	readonly from: number;
	readonly to: number;
	readonly text: string;
}

/** Sentences that are scored together, so that each has its context. */
export interface Passage {
	readonly text: string;
	readonly sentences: readonly Sentence[];
	/** Where each begins in `text`. */
	readonly starts: readonly number[];
}

/** What a model says of one token of a passage. */
export interface TokenScore {
	/** Where it begins in the passage. */
	readonly at: number;
	/** In nats; null where nothing foretold it. */
	readonly logprob: number | null;
}

export interface Likeness extends Sentence {
	/** 0.1: it surprises the voice 10 % less than the base; below zero more. */
	readonly gain: number;
}

/** Fewer words say too little about who wrote them. */
const LEAST_WORDS = 5;
/** Characters of a passage, well within what any base reads at once. */
const MOST_CHARS = 1_600;
/** Passages of one note; a longer note is looked at from its end. */
const MOST_PASSAGES = 32;

/** Front matter, then blocks of code, headings, tables, quotes, tags and comments are no sentences. */
const FRONT_MATTER = /^\uFEFF?---[ \t]*\n[\s\S]*?\n---[ \t]*(?:\n|$)/;
export const NO_PROSE = /^\s*(?:#|\||>|!\[|%%|\$\$|<|---|\*\*\*)/;
export const FENCE = /^\s*(?:```|~~~)/;

export function sentencesOf(note: string): Sentence[] {
	const found: Sentence[] = [];
	let [at, fenced] = [FRONT_MATTER.exec(note)?.[0].length ?? 0, false];
	for (const line of note.slice(at).split("\n")) {
		const fence = FENCE.test(line);
		if (!fence && !fenced && !NO_PROSE.test(line)) found.push(...inLine(line, at));
		if (fence) fenced = !fenced;
		at += line.length + 1;
	}
	return found;
}

function inLine(line: string, at: number): Sentence[] {
	const start = /^\s*(?:[-*+] (?:\[.\] )?|\d+[.)] )?/.exec(line)?.[0].length ?? 0;
	const pieces = new Intl.Segmenter(undefined, { granularity: "sentence" }).segment(line.slice(start));
	return Array.from(pieces).flatMap(({ index, segment }) => {
		const text = segment.trim();
		const from = at + start + index + segment.indexOf(text);
		return text.split(/\s+/).length >= LEAST_WORDS ? [{ from, to: from + text.length, text }] : [];
	});
}

/** The sentences in passages; of a long note the last ones. */
export function passagesOf(note: string): Passage[] {
	const all: { text: string; sentences: Sentence[]; starts: number[] }[] = [];
	for (const sentence of sentencesOf(note)) {
		let last = all.at(-1);
		if (!last || last.text.length + sentence.text.length > MOST_CHARS) all.push((last = { text: "", sentences: [], starts: [] }));
		const before = last.sentences.at(-1);
		if (before) last.text += /\n/.test(note.slice(before.to, sentence.from)) ? "\n\n" : " ";
		last.starts.push(last.text.length);
		last.sentences.push(sentence);
		last.text += sentence.text;
	}
	return all.slice(-MOST_PASSAGES);
}

/** Each sentence of a passage with its gain, by the voice's scores and the base's. */
export function judged(passage: Passage, voice: readonly TokenScore[], base: readonly TokenScore[]): Likeness[] {
	const [ours, theirs] = [bitsOf(passage, voice), bitsOf(passage, base)];
	// The share and not the difference: a sentence that any model finds hard is not the author's for it.
	return passage.sentences.map((sentence, n) => ({ ...sentence, gain: theirs[n] ? 1 - (ours[n] ?? 0) / theirs[n] : 0 }));
}

/** Bits of each sentence; a token belongs to the sentence that its last part lies in. */
function bitsOf({ text, starts }: Passage, scores: readonly TokenScore[]): number[] {
	const bits = starts.map(() => 0);
	for (const { at, logprob } of scores) {
		const seen = at + (/^\s*/.exec(text.slice(at))?.[0].length ?? 0);
		const n = starts.filter((start) => start <= seen).length - 1;
		if (n >= 0) bits[n] = (bits[n] ?? 0) - (logprob ?? 0) / Math.LN2;
	}
	return bits;
}

/** The least and the most like the author; null where there is too little to compare. */
export function extremes(all: readonly Likeness[]): { least: Likeness; most: Likeness } | null {
	const sorted = [...all].sort((a, b) => a.gain - b.gain);
	const [least, most] = [sorted[0], sorted.at(-1)];
	return sorted.length >= 3 && least && most ? { least, most } : null;
}
