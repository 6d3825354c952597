/**
 * Tags as Obsidian and the daemon count them, in front matter and in the text.
 * Pure functions of strings. Knows nothing about notes as files.
 */

/** Obsidian's own characters of a tag: no white space, no punctuation but "_", "-" and "/". */
const CHARS = "[^\\u2000-\\u206F\\u2E00-\\u2E7F'!\"#$%&()*+,.:;<=>?@^`{|}~\\[\\]\\\\\\s]";
const INLINE = new RegExp(`(^|\\s)#(${CHARS}+)`, "gu");
const TAG_LINE = new RegExp(`^[ \\t]*(?:tags?[ \\t]*::?[ \\t]*)?(?:#${CHARS}+[ \\t,;]*)+$`, "iu");

/** Lower case, without "#", quotes and slashes at the ends; null when nothing is left. */
export function cleanTag(name: string): string | null {
	const tag = name
		.replace(/^["'[\](){}]+|["'[\](){}]+$/g, "")
		.replace(/^#+/, "")
		.replace(/^\/+|\/+$/g, "")
		.toLowerCase();
	return tag === "" || tag === "null" || tag === "~" ? null : tag;
}

/** Tags of a front matter value: a list, nested lists, or a string with commas or spaces. */
export function propertyTags(value: unknown): string[] {
	if (Array.isArray(value)) return unique(value.flatMap(propertyTags));
	if (typeof value !== "string") return [];
	return unique(value.split(/[\s,;]+/).map(cleanTag));
}

/** Tags written in the text, outside code. `#1` is a number, not a tag. */
export function inlineTags(text: string): string[] {
	const tags: string[] = [];
	for (const match of withoutCode(text).matchAll(INLINE)) {
		const tag = cleanTag(match[2] ?? "");
		if (tag && !/^[\d/]+$/.test(tag)) tags.push(tag);
	}
	return unique(tags);
}

/** Whether a line holds tags and nothing else, so that it is no prose. */
export function isTagLine(line: string): boolean {
	return TAG_LINE.test(line);
}

/** Each once, in order of appearance. */
export function unique(tags: readonly (string | null)[]): string[] {
	return [...new Set(tags.filter((tag): tag is string => tag !== null && tag !== ""))];
}

function withoutCode(text: string): string {
	return text
		.replace(/^[ \t]*(`{3,}|~{3,})[^\n]*\n[\s\S]*?(?:^[ \t]*\1[^\n]*$|(?![\s\S]))/gm, " ")
		.replace(/(`+)(?!`)[^\n]*?[^`]\1(?!`)/g, " ");
}
