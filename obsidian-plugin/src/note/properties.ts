/**
 * The front matter of a note that is being written: where it ends, and the voice it asks for.
 * The YAML reader is given, so that Obsidian's own is used. Never throws on any text.
 */
import { dateValue } from "./dates.ts";
import { propertyTags } from "./tags.ts";

export type Length = "sentence" | "paragraph" | "page";
export type ParseYaml = (text: string) => unknown;

export interface Properties {
	/** Characters of the note before its body. */
	readonly end: number;
	readonly tags: readonly string[];
	readonly date: string | null;
	readonly created: string | null;
	readonly title: string | null;
	readonly overrides: Overrides;
}

/** `vaultgpt:` in the front matter: what this note asks for in place of what was found. */
export interface Overrides {
	readonly off: boolean;
	readonly tags?: readonly string[];
	readonly date?: string;
	readonly length?: Length;
	readonly temperature?: number;
}

const OFF = /^\s*(?:false|no|off|0)\s*$/i;
const LENGTHS: readonly string[] = ["sentence", "paragraph", "page"];
const MOST_FRONT_MATTER = 65_536;

/** The properties of a note's text; empty ones when there is no front matter or it is broken. */
export function readProperties(text: string, parseYaml: ParseYaml): Properties {
	const opening = /^\uFEFF?---[ \t]*\r?\n/.exec(text);
	const head = text.slice(0, MOST_FRONT_MATTER);
	const closing = opening && /^---[ \t]*(?:\r?\n|$)/m.exec(head.slice(opening[0].length));
	if (!opening || !closing) return none(0);
	const start = opening[0].length;
	const values = mapping(head.slice(start, start + closing.index), parseYaml);
	if (!values) return none(0);
	const dated = (...keys: string[]) => keys.map((key) => dateValue(values[key])).find((date) => date !== null) ?? null;
	const { title } = values;
	return {
		end: start + closing.index + closing[0].length,
		tags: [...new Set([...propertyTags(values["tags"]), ...propertyTags(values["tag"])])],
		date: dated("date", "day"),
		created: dated("created", "creation-date", "date-created"),
		title: typeof title === "string" && title.trim() ? title.trim() : null,
		overrides: readOverrides(values["vaultgpt"]),
	};
}

function none(end: number): Properties {
	return { end, tags: [], date: null, created: null, title: null, overrides: { off: false } };
}

function mapping(yaml: string, parseYaml: ParseYaml): Record<string, unknown> | null {
	if (yaml.trim() === "") return {};
	try {
		return asRecord(parseYaml(yaml));
	} catch {
		return null;
	}
}

function asRecord(value: unknown): Record<string, unknown> | null {
	if (typeof value !== "object" || value === null || Array.isArray(value)) return null;
	const entries = Object.entries(value).map(([key, item]) => [key.trim().toLowerCase().replace(/[ _]/g, "-"), item] as const);
	return Object.fromEntries(entries);
}

function readOverrides(value: unknown): Overrides {
	if (value === false || value === 0 || (typeof value === "string" && OFF.test(value))) return { off: true };
	const asked = asRecord(value);
	if (!asked) return { off: false };
	const date = dateValue(asked["date"]);
	const { length, temperature, tags } = asked;
	return {
		off: false,
		...(tags === undefined ? {} : { tags: propertyTags(tags) }),
		...(date ? { date } : {}),
		...(isLength(length) ? { length } : {}),
		...(isTemperature(temperature) ? { temperature } : {}),
	};
}

function isLength(value: unknown): value is Length {
	return typeof value === "string" && LENGTHS.includes(value);
}

function isTemperature(value: unknown): value is number {
	return typeof value === "number" && value >= 0 && value <= 5;
}
