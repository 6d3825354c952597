/**
 * The author's preferences, which travel with the vault, and what belongs to this device alone.
 * Pure: reading never trusts what it reads.
 */
import { DEFAULT_KEYS, type Act, type Keys } from "./editor/keys.ts";
import type { Length } from "./note/request.ts";

export interface Settings {
	length: Length;
	alternatives: number;
	showVoice: boolean;
	readAhead: boolean;
	statusBar: boolean;
	asYouType: boolean;
	greeted: boolean;
	/** The chords while a continuation is shown; "" for none. */
	keys: Keys;
	/** How a continuation looks. */
	look: Look;
}

export const LOOKS = { plain: "Grey", italic: "Grey and slanted", underlined: "Grey and underlined" };
export type Look = keyof typeof LOOKS;

export const DEFAULTS: Settings = {
	length: "paragraph",
	alternatives: 3,
	showVoice: true,
	readAhead: true,
	statusBar: true,
	asYouType: false,
	greeted: false,
	keys: DEFAULT_KEYS,
	look: "plain",
};

/** Settings from data.json; a value of the wrong kind is its default. */
export function readSettings(value: unknown): Settings {
	const given = (typeof value === "object" && value !== null ? value : {}) as Record<string, unknown>;
	const flag = (key: "showVoice" | "readAhead" | "statusBar" | "asYouType" | "greeted") =>
		typeof given[key] === "boolean" ? given[key] : DEFAULTS[key];
	const { length, alternatives, look } = given;
	return {
		length: length === "sentence" || length === "page" ? length : DEFAULTS.length,
		alternatives: isCount(alternatives) ? alternatives : DEFAULTS.alternatives,
		showVoice: flag("showVoice"),
		readAhead: flag("readAhead"),
		statusBar: flag("statusBar"),
		asYouType: flag("asYouType"),
		greeted: flag("greeted"),
		keys: keysOf(given["keys"]),
		look: typeof look === "string" && look in LOOKS ? (look as Look) : DEFAULTS.look,
	};
}

function keysOf(value: unknown): Keys {
	const given = (typeof value === "object" && value !== null ? value : {}) as Record<string, unknown>;
	const chord = (act: Act) => (typeof given[act] === "string" ? given[act] : DEFAULT_KEYS[act]);
	const acts = Object.keys(DEFAULT_KEYS) as Act[];
	return Object.fromEntries(acts.map((act) => [act, chord(act)])) as Record<Act, string>;
}

function isCount(value: unknown): value is number {
	return typeof value === "number" && Number.isInteger(value) && value >= 1 && value <= 4;
}
