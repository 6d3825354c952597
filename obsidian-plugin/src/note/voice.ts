/**
 * The voice of a note at the cursor, and the prompt that is cut from it, read from the text as it
 * stands in the editor, saved or not. Pure functions of strings. Knows nothing about editors.
 */
import { headingDate, parseDate } from "./dates.ts";
import { readProperties, type Length, type ParseYaml } from "./properties.ts";
import { inlineTags, isTagLine, unique } from "./tags.ts";
import { cleanTitle, titleOf, titleOfName } from "./titles.ts";

/** What the note says of itself, and the text around the cursor. */
export interface Reading {
	readonly off: boolean;
	/** Whether the cursor stands in the front matter, where no prose belongs. */
	readonly inProperties: boolean;
	readonly tags: readonly string[];
	/** null for none; undefined when only the daemon, which knows the path, can tell. */
	readonly date: string | null | undefined;
	readonly title: string | null;
	readonly length: Length | null;
	readonly temperature: number | null;
	readonly prompt: string;
	readonly suffix: string;
}

/** Characters kept before the cursor, and the step in which the cut moves while one types on. */
const MOST_BEFORE = 12_000;
const STEP = 4_000;
const MOST_AFTER = 1_000;
const MOST_TAGS = 16;

/**
 * Read `text` for a continuation at `at`. `path` is relative to the vault, `pathDate` the date that
 * it means, undefined while that is not known.
 */
export function readNote(
	text: string,
	at: number,
	path: string,
	parseYaml: ParseYaml,
	pathDate: string | null | undefined,
): Reading {
	const properties = readProperties(text, parseYaml);
	const { overrides } = properties;
	const body = Math.min(properties.end, text.length);
	const day = dayAround(text, body, at);
	const start = day?.start ?? body;
	const heading = day ? null : titleHeading(text, body, pathDate ?? null);
	const top = heading && heading.end <= at ? heading.end : start;
	const inline = inlineTags(day ? text.slice(start, day.end) : text.slice(body));
	const last = pathDate === undefined ? undefined : (properties.created ?? parseDate(heading?.text ?? "")?.date ?? null);
	const dated = properties.date ?? pathDate ?? last;
	const tags = unique([...properties.tags, ...inline]);
	return {
		off: overrides.off,
		inProperties: at < body || (at > 0 && at === body && text[at - 1] !== "\n"),
		tags: (overrides.tags ?? tags).slice(0, MOST_TAGS),
		date: overrides.date ?? (day ? day.date : dated),
		title: day ? cleanTitle(day.rest) : (titleOf(heading?.text) ?? titleOf(properties.title) ?? titleOfName(path, tags)),
		length: overrides.length ?? null,
		temperature: overrides.temperature ?? null,
		prompt: cutBefore(proseOf(text.slice(Math.min(top, at), at))),
		suffix: text.slice(Math.max(at, body), Math.max(at, body) + MOST_AFTER),
	};
}

interface Heading {
	readonly text: string;
	readonly level: number;
	readonly start: number;
	readonly end: number;
}

function headings(text: string, from: number): Heading[] {
	const found: Heading[] = [];
	let fence = "";
	for (const line of text.slice(from).matchAll(/^(.*)(?:\r?\n|$)/gm)) {
		if (line[0] === "") continue;
		const mark = /^[ \t]*(`{3,}|~{3,})/.exec(line[1] ?? "")?.[1] ?? "";
		if (mark) fence = fence === "" ? mark : mark.startsWith(fence) ? "" : fence;
		const match = fence ? null : /^(#{1,6})[ \t]+(\S.*?)[ \t]*#*$/.exec((line[1] ?? "").trimEnd());
		const start = from + line.index;
		if (match)
			found.push({ text: match[2] ?? "", level: match[1]?.length ?? 1, start, end: start + line[0].length });
	}
	return found;
}

/** The day that `at` stands in, in a note that keeps many days under date headings. */
function dayAround(text: string, body: number, at: number) {
	const dated = headings(text, body).filter((heading) => headingDate(heading.text) !== null);
	const levels = [1, 2, 3, 4, 5, 6].map((level) => dated.filter((heading) => heading.level === level));
	const days = levels.reduce((best, each) => (each.length > best.length ? each : best));
	if (days.length < 2) return null;
	const index = days.findLastIndex((heading) => heading.end <= at);
	const day = days[index];
	if (!day) return null;
	const end = days[index + 1]?.start ?? text.length;
	const found = headingDate(day.text);
	return { start: pastBlank(text, day.end), end, date: found?.date ?? null, rest: found?.rest ?? "" };
}

/**
 * The first heading, when it is of level 1 and nothing but tags stands above it. "# Morning" and
 * "# Evening" in a daily note are parts of a day, not its title.
 */
function titleHeading(text: string, body: number, pathDate: string | null): Heading | null {
	const all = headings(text, body);
	const first = all[0];
	if (!first || first.level !== 1) return null;
	const parts = pathDate !== null && all.filter(({ level }) => level === 1).length > 1;
	if (parts && !parseDate(first.text)) return null;
	const above = text.slice(body, first.start).split("\n");
	if (above.some((line) => line.trim() !== "" && !isTagLine(line))) return null;
	return { ...first, end: pastBlank(text, first.end) };
}

function pastBlank(text: string, from: number): number {
	return from + (/^(?:[ \t]*\r?\n)*/.exec(text.slice(from))?.[0].length ?? 0);
}

/** Without comments and lines of tags, which the model has never read. The end stays as it is. */
function proseOf(text: string): string {
	const last = text.lastIndexOf("\n") + 1;
	const lines = text.slice(0, last).replace(/%%[\s\S]*?%%/g, "");
	const kept = lines.split("\n").filter((line) => !isTagLine(line));
	return (kept.join("\n") + text.slice(last)).replace(/^(?:[ \t]*\r?\n)+/, "");
}

/** The end of a long text, from a paragraph's start; the cut rests while one types on. */
function cutBefore(text: string): string {
	if (text.length <= MOST_BEFORE) return text;
	const at = Math.ceil((text.length - MOST_BEFORE) / STEP) * STEP;
	const boundary = /\n[ \t]*\n\s*|[.!?…]["'”’)\]]*\s+|\n/;
	const paragraph = /\n[ \t]*\n\s*/.exec(text.slice(at, at + STEP / 2));
	const match = paragraph ?? boundary.exec(text.slice(at, at + STEP / 2));
	return text.slice(match ? at + match.index + match[0].length : at);
}
