/**
 * Dates as people write them in names, headings and properties, to "2021", "2021-03".
 * Pure functions of strings. A day is never sent: it would be a key to one entry.
 */
const MONTHS =
	"january jan januar februar february feb march mar märz april apr may mai june jun juni july jul juli august aug september sep sept october oct oktober november nov december dec dezember".split(
		" ",
	);
const NUMBER: Record<string, string> = Object.fromEntries(
	MONTHS.map((name) => {
		const order = ["jan", "feb", "mar", "apr", "ma", "jun", "jul", "aug", "sep", "o", "nov", "de"];
		const key = name.replace("märz", "mar");
		return [name, String(order.findIndex((start) => key.startsWith(start)) + 1).padStart(2, "0")];
	}),
);

const NUMERIC = /^([12]\d{3})([-/._])(\d{1,2})\2(\d{1,2})(?!\d)/;
const MONTH = /^([12]\d{3})[-/](\d\d)(?![-/._\d])/;
const COMPACT = /^([12]\d{3})(\d\d)(\d\d)(?!\d)/;
const DAY_MONTH = /^\d{1,2}(?:st|nd|rd|th|\.)?(?:\s+of)?\s+([^\W\d_]{3,10}|märz)\.?,?\s+([12]\d{3})(?!\d)/i;
const MONTH_DAY = /^([^\W\d_]{3,10})\.?\s+\d{1,2}(?:st|nd|rd|th)?,?\s+([12]\d{3})(?!\d)/i;
const MONTH_YEAR = /^([^\W\d_]{3,10}|märz)\.?,?\s+([12]\d{3})(?!\d)/i;
const WEEKDAY = /^[(,\s]*(?:mon|tue|wed|thu|fri|sat|sun|montag|dienstag|mittwoch|donnerstag|freitag|samstag|sonntag)[a-z]*\.?[),]?\s*/i;

/** A date at the start of a text: "2021-03", and what follows it. */
export interface Found {
	month: string;
	rest: string;
}

/** The date that `text` begins with; null when it begins with none. */
export function leadingDate(text: string): Found | null {
	const plain = text
		.trim()
		.replace(/^\[\[([^\]|#]*)[^\]]*\]\]/, "$1")
		.replace(/^[*_]+/, "")
		.replace(WEEKDAY, "");
	const match = NUMERIC.exec(plain) ?? COMPACT.exec(plain) ?? MONTH.exec(plain);
	if (match) {
		const month = match[2]?.length === 1 ? match[3] : match[2];
		return found(match[1], month, plain.slice(match[0].length));
	}
	const worded = DAY_MONTH.exec(plain) ?? MONTH_DAY.exec(plain) ?? MONTH_YEAR.exec(plain);
	const month = worded && NUMBER[(worded[1] ?? "").toLowerCase()];
	return worded && month ? found(worded[2], month, plain.slice(worded[0].length)) : null;
}

function found(year = "", month = "", rest = ""): Found | null {
	const padded = month.padStart(2, "0");
	return padded >= "01" && padded <= "12" ? { month: `${year}-${padded}`, rest } : null;
}

/** A value that is a date and nothing else, or a bare year: "2014" or "2014-03". */
export function dateValue(value: unknown): string | null {
	if (value instanceof Date && !Number.isNaN(value.getTime())) return value.toISOString().slice(0, 7);
	if (typeof value === "number" && Number.isInteger(value)) return yearOnly(String(value));
	if (typeof value !== "string") return null;
	const date = leadingDate(value);
	if (date && /^[\sT.,:)*_\d+Zz-]*$/.test(date.rest)) return date.month;
	return yearOnly(value.trim());
}

function yearOnly(text: string): string | null {
	return /^[12]\d{3}$/.test(text) ? text : null;
}

/** Whether a heading is a day or a month, alone or followed by a title. */
export function headingDate(heading: string): string | null {
	const date = leadingDate(heading);
	if (!date) return null;
	const alone = date.rest.replace(WEEKDAY, "").trim().replace(/[*_:.,]+$/, "") === "";
	return alone || /^[12]\d{3}[-/._]\d/.test(heading.trim()) ? date.month : null;
}
