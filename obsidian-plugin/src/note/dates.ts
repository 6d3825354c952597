/**
 * Dates as people write them in headings and properties, to "2021" and "2021-03", by the daemon's own
 * rules. Pure functions of strings. A day is never sent: it would be a key to one entry.
 */
const MONTHS = new Map(
	`january jan januar janvier enero gennaio januari janeiro jänner janv ene genn
february feb februar février febrero febbraio februari fevereiro févr fevrier febr fev
march mar märz mars marzo maart março mär mrz marco mrt
april apr avril abril aprile avr abr
may mai mayo maggio mei maio mag
june jun juni juin junio giugno junho giu
july jul juli juillet julio luglio julho juil lug
august aug août agosto augustus aout ago
september sep sept septembre septiembre settembre setembro set
october oct oktober octobre octubre ottobre outubro okt ott out
november nov novembre noviembre novembro
december dec dezember décembre diciembre dicembre dezembro dez déc decembre dic`
		.split("\n")
		.flatMap((line, n) => line.split(" ").map((name) => [name, n + 1] as const)),
);
const WEEKDAYS = new Set(
	`monday tuesday wednesday thursday friday saturday sunday mon tue tues wed thu thur thurs fri sat sun
montag dienstag mittwoch donnerstag freitag samstag sonnabend sonntag lundi mardi mercredi jeudi vendredi
samedi dimanche lunes martes miércoles jueves viernes sábado domingo lunedì martedì mercoledì giovedì
venerdì sabato domenica maandag dinsdag woensdag donderdag vrijdag zaterdag zondag`.split(/\s/),
);

const NUMERIC = /^([12]\d{3})([-/._])(\d{1,2})\2(\d{1,2})(?!\d)/;
const COMPACT = /^([12]\d{3})(\d\d)(\d\d)(?:\d{4}|\d{6})?(?!\d)/;
const MONTH = /^([12]\d{3})[-/](\d\d)(?![-/._\d])/;
const WEEK = /^([12]\d{3})-?W(\d{1,2})(?!\d)/;
const LAST = /^(\d{1,2})([/.-])(\d{1,2})\2([12]\d{3})(?!\d)/;
const DAY_MONTH = /^(\d{1,2})(?:st|nd|rd|th|\.|er)?(?:\s+(?:of|de))?[\s-]+(\p{L}{3,10})\.?,?(?:\s+(?:of|de))?[\s-]+([12]\d{3})(?!\d)/u;
const MONTH_DAY = /^(\p{L}{3,10})\.?\s+(\d{1,2})(?:st|nd|rd|th)?,?\s+([12]\d{3})(?!\d)/u;
const MONTH_YEAR = /^(\p{L}{3,10})\.?,?\s+([12]\d{3})(?!\d)/u;
const YEAR = /^[12]\d{3}(?!\d)/;
const WEEKDAY = /^\s*[(,]?\s*(\p{L}{3,10})\.?[,)]?\s*/u;
const TIME = /^(?:[T\s,]\s*\d{1,2}[:.h]\d{2}\S{0,20}(?:\s*[AaPp]\.?[Mm]\.?)?(?:\s\S{1,6})?)?$/;
const LINK = /^\[\[([^\]|#]{1,200})(?:#[^\]|]*)?(?:\|[^\]]*)?\]\]/;
const LONGEST = 120;

/** A date that was written: "2021-03" or "2021"; null when there is no such day, month or year. */
export interface Found {
	readonly date: string | null;
	/** What follows it. */
	readonly rest: string;
	/** It names a day, not only a month or a year. */
	readonly day: boolean;
}

/** A date in figures at the very start of a text: a day, a month, a week, or a run of digits. */
export function leadingDate(text: string): Found | null {
	const numeric = NUMERIC.exec(text);
	if (numeric) return found(text, numeric, calendar(numeric[1], numeric[3], numeric[4]), true);
	const week = WEEK.exec(text);
	if (week) return found(text, week, weekMonth(Number(week[1]), Number(week[2])), false);
	const month = MONTH.exec(text);
	const named = month && calendar(month[1], month[2], "1");
	if (month && named) return found(text, month, named, false);
	const compact = COMPACT.exec(text);
	const day = compact && calendar(compact[1], compact[2], compact[3]);
	return compact && day ? found(text, compact, day, true) : null;
}

/** A text that is a date and nothing else; a weekday and a time may stand by it. */
export function parseDate(text: string): Found | null {
	const bare = plain(text);
	const year = YEAR.exec(bare);
	const date = leadingDate(bare) ?? worded(bare) ?? (year && found(bare, year, year[0], false));
	return date && after(date.rest) === "" ? date : null;
}

/** A heading that is a day or a month, alone or (a day in figures) followed by a title, its rest. */
export function headingDate(heading: string): Found | null {
	const bare = plain(heading);
	const date = leadingDate(bare) ?? worded(bare);
	if (!date) return null;
	const rest = after(date.rest);
	return rest === "" || NUMERIC.test(bare) ? { ...date, rest } : null;
}

/** A property's value as a date; null for none. */
export function dateValue(value: unknown): string | null {
	if (value instanceof Date && !Number.isNaN(value.getTime())) return value.toISOString().slice(0, 7);
	if (Array.isArray(value)) return dateValue(value[0]);
	if (typeof value !== "string" && typeof value !== "number") return null;
	return parseDate(String(value))?.date ?? null;
}

/** "14 March 2021", "March 14, 2021", "14.3.2021", "March 2021". */
function worded(text: string): Found | null {
	const forms = [[DAY_MONTH, 1, 2, 3], [MONTH_DAY, 2, 1, 3]] as const;
	for (const [form, day, name, year] of forms) {
		const match = form.exec(text);
		const month = MONTHS.get((match?.[name] ?? "").toLowerCase());
		if (match && month) return found(text, match, calendar(match[year], month, match[day]), true);
	}
	const last = LAST.exec(text);
	if (last) return dayLast(text, last);
	const match = MONTH_YEAR.exec(text);
	const month = MONTHS.get((match?.[1] ?? "").toLowerCase());
	return match && month ? found(text, match, calendar(match[2], month, 1), false) : null;
}

/** 3/4/2021 is March in one country and April in another: no date. */
function dayLast(text: string, match: RegExpExecArray): Found | null {
	const [first, second] = [Number(match[1]), Number(match[3])];
	if (match[2] === "." || first > 12 || first === second) return found(text, match, calendar(match[4], second, first), true);
	return second > 12 ? found(text, match, calendar(match[4], first, second), true) : null;
}

function found(text: string, match: RegExpExecArray, date: string | null, day: boolean): Found {
	return { date, rest: text.slice(match[0].length), day };
}

/** "2021-03" when the day is one of the calendar. */
function calendar(year: string | undefined, month: string | number | undefined, day: string | number | undefined): string | null {
	const [m, d] = [Number(month), Number(day)];
	const date = new Date(Date.UTC(Number(year), m - 1, d));
	return date.getUTCMonth() === m - 1 && date.getUTCDate() === d ? date.toISOString().slice(0, 7) : null;
}

/** The month that an ISO week's Thursday lies in; null for no such week. */
function weekMonth(year: number, week: number): string | null {
	const fourth = new Date(Date.UTC(year, 0, 4)); // always in the first week
	const thursday = new Date(Date.UTC(year, 0, 4 - ((fourth.getUTCDay() + 6) % 7) + 3 + 7 * (week - 1)));
	return week > 0 && thursday.getUTCFullYear() === year ? thursday.toISOString().slice(0, 7) : null;
}

/** Without link brackets, emphasis and a weekday in front. */
function plain(text: string): string {
	const bare = text.trim().slice(0, LONGEST).replace(/^[*_:= \t]+|[*_:= \t]+$/g, "");
	const link = LINK.exec(bare);
	const name = link?.[1]?.split("/").pop()?.replace(/\.md$/, "");
	return withoutWeekday(link ? (name ?? "") + bare.slice(link[0].length) : bare);
}

/** What follows a date, without a weekday and a time. */
function after(rest: string): string {
	const bare = withoutWeekday(rest);
	return TIME.test(bare) ? "" : bare.replace(/^[ \t–—:,.-]+|[ \t–—:,.-]+$/g, "");
}

function withoutWeekday(text: string): string {
	const match = WEEKDAY.exec(text);
	return match && WEEKDAYS.has((match[1] ?? "").toLowerCase()) ? text.slice(match[0].length) : text;
}
