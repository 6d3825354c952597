/**
 * How much of a proposed text one key accepts: a word, a sentence, a paragraph, all of it.
 * Pure functions of a string. Knows nothing about editors.
 */
export type Unit = "word" | "sentence" | "paragraph" | "all";

/** Abbreviations that end in a full stop without ending a sentence. */
const ABBREVIATION = /(?:^|[\s("'“‘])(?:mr|mrs|ms|dr|prof|st|sr|jr|vs|no|cf|e\.g|i\.e|z\.b|\p{L})\.\s*$/iu;

/** Characters at the start of `text` that one key of `unit` accepts; at least one that is seen. */
export function unitLength(text: string, unit: Unit): number {
	if (unit === "word") return wordLength(text);
	if (unit === "sentence") return sentenceLength(text);
	if (unit === "paragraph") return paragraphLength(text);
	return text.length;
}

/** White space, then one word with the punctuation that clings to it. */
function wordLength(text: string): number {
	const start = /^\s*/.exec(text)?.[0].length ?? 0;
	let end = start;
	for (const { segment, isWordLike } of new Intl.Segmenter(undefined, {
		granularity: "word",
	}).segment(text.slice(start))) {
		if (end > start && (isWordLike || /^\s/.test(segment)) && !joins(text, end)) break;
		end += segment.length;
	}
	return end;
}

/** Whether the characters around `at` hold one word together, as in "so-called" or "(so". */
function joins(text: string, at: number): boolean {
	return /[-’'([{"“‘#*_]/.test(text[at - 1] ?? "") && /\S/.test(text[at] ?? "");
}

/** Up to the end of a sentence or a line; white space after it is left for the next key. */
function sentenceLength(text: string): number {
	const start = /^\s*/.exec(text)?.[0].length ?? 0;
	let end = start;
	for (const { segment } of new Intl.Segmenter(undefined, { granularity: "sentence" }).segment(
		text.slice(start),
	)) {
		end += segment.length;
		if (!ABBREVIATION.test(text.slice(start, end))) break;
	}
	return end - trailing(text.slice(start, end));
}

/** Up to an empty line; the white space before the next paragraph is left for the next key. */
function paragraphLength(text: string): number {
	const start = /^\s*/.exec(text)?.[0].length ?? 0;
	const stop = /\n[ \t]*\n/.exec(text.slice(start));
	return stop ? start + stop.index : text.length;
}

function trailing(text: string): number {
	return /\s*$/.exec(text)?.[0].length ?? 0;
}
