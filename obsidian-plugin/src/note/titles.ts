/**
 * A note's title by the daemon's own rules: its first heading, its property, or its file's name; a
 * date is no title, nor is "Untitled 3". Pure functions of strings.
 */
import { headingDate, leadingDate, parseDate } from "./dates.ts";

const NAMELESS =
	/^(?:(?:untitled|unbenannt|sans titre|sin título|senza titolo|naamloos|sem título|new note|neue notiz|drawing|pasted|note)?[ _-]*[\d.,() _-]*|[0-9a-f-]{16,})$/i;
const SERIAL = /^([\p{L}_]+)[ _-]*\d+$/u;
const LINK = /\[\[(?:[^\]|]{0,300}\|)?([^\]|]{0,300})\]\]|\[([^\]]{0,300})\]\([^)]{0,500}\)/g;
const EMPHASIS = /\*{1,3}|`|==|~~/g;
const UNDERSCORES = /(^|\W)_{1,3}(?=\w)|([\w.!?])_{1,3}(?!\w)/g;
const LONGEST = 200;

/** A heading or a property as plain words, on one line; null for nothing and for a date. */
export function titleOf(text: string | null | undefined): string | null {
	return !text || parseDate(text) ? null : cleanTitle(text);
}

/** The same of what follows a day in its heading. */
export function cleanTitle(text: string): string | null {
	const plain = text
		.slice(0, 1_000)
		.replace(LINK, "$1$2")
		.replace(/(^|\s)#\S+/g, "$1")
		.replace(EMPHASIS, "")
		.replace(UNDERSCORES, "$1$2");
	return plain.split(/\s+/).filter(Boolean).join(" ").slice(0, LONGEST).trim() || null;
}

/** A file's name as a title; null for a date, "Untitled 3", or "poetry 433" in Poetry/. */
export function titleOfName(path: string, tags: readonly string[]): string | null {
	const parts = path.split("/");
	const stem = (parts.pop() ?? "").replace(/\.(md|markdown)$/i, "").trim();
	if (parseDate(stem)) return null;
	const date = leadingDate(stem) ?? headingDate(stem);
	const dated = date && (date.day || /^\s*[-–—_]/.test(date.rest));
	const name = dated ? date.rest.replace(/^[ \t–—_:,.-]+|[ \t–—_:,.-]+$/g, "") : stem;
	if (NAMELESS.test(name)) return null;
	const kinds = [parts.pop() ?? "", ...tags].map((kind) => kind.toLowerCase());
	const serial = SERIAL.exec(name)?.[1]?.toLowerCase();
	return serial && (kinds.includes(serial) || kinds.includes(`${serial}s`)) ? null : name.slice(0, LONGEST) || null;
}
