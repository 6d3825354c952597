/**
 * The author's preferences, which travel with the vault, and what belongs to this device alone.
 * Pure: reading never trusts what it reads.
 */
import type { Length } from "./note/properties.ts";

export interface Settings {
	length: Length;
	alternatives: number;
	showVoice: boolean;
	readAhead: boolean;
	statusBar: boolean;
	greeted: boolean;
}

export const DEFAULTS: Settings = {
	length: "paragraph",
	alternatives: 3,
	showVoice: true,
	readAhead: true,
	statusBar: true,
	greeted: false,
};

/** Settings from data.json; a value of the wrong kind is its default. */
export function readSettings(value: unknown): Settings {
	const given = (typeof value === "object" && value !== null ? value : {}) as Record<string, unknown>;
	const flag = (key: "showVoice" | "readAhead" | "statusBar" | "greeted") =>
		typeof given[key] === "boolean" ? given[key] : DEFAULTS[key];
	const { length, alternatives } = given;
	return {
		length: length === "sentence" || length === "page" ? length : DEFAULTS.length,
		alternatives: isCount(alternatives) ? alternatives : DEFAULTS.alternatives,
		showVoice: flag("showVoice"),
		readAhead: flag("readAhead"),
		statusBar: flag("statusBar"),
		greeted: flag("greeted"),
	};
}

function isCount(value: unknown): value is number {
	return typeof value === "number" && Number.isInteger(value) && value >= 1 && value <= 4;
}
