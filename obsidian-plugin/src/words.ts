/** What the daemon's figures mean, in sentences. Pure functions of values. */
import { record, strings, text } from "./daemon/answers.ts";
import type { Generation, NoteAnswer, Whose } from "./daemon/api.ts";
import type { Daemon } from "./daemon/model.ts";

const DOING: Record<string, string> = { read: "reading", load: "reading", train: "learning" };

/** The day of a moment, as a person says it: "last night", "yesterday", "12 March". */
function dayOf(then: Date, now: Date): string {
	const midnight = new Date(now.getFullYear(), now.getMonth(), now.getDate()).getTime();
	const hours = (then.getTime() - midnight) / 3_600_000;
	if (hours >= -4 && hours < 6 && now.getHours() >= 6) return "last night";
	if (hours >= -24) return hours >= 0 ? "today" : "yesterday";
	const year = then.getFullYear() === now.getFullYear() ? {} : ({ year: "numeric" } as const);
	return then.toLocaleDateString([], { day: "numeric", month: "long", ...year });
}

export const BASE_WRITES = "The base writes now, without anything that it learned from you. To go back to your voice, open the mirror and press “Use this voice”.";

/** The voice that writes; "base" where there are voices and none writes, null before the first was learned. */
export function writer({ generations, status }: Pick<Daemon, "generations" | "status">): Generation | "base" | null {
	const usable = generations.some(({ promoted, barred }) => promoted && !barred);
	return generations.find(({ id }) => id === status?.writes) ?? (usable ? "base" : null);
}

/** When a voice was learned: "learned last night", "learned on 12 March at 09:30". */
export function learned({ created }: Pick<Generation, "created">, now = new Date()): string {
	const then = new Date(created * 1000);
	const day = dayOf(then, now);
	if (day === "last night") return `learned ${day}`;
	const clock = then.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
	return `learned ${/^(?:today|yesterday)$/.test(day) ? day : `on ${day}`} at ${clock}`;
}

/** What to do where plugin and daemon are of two versions; "" where they are of one. */
export function versionsApart(plugin: string, daemon: string | null): string {
	if (daemon === null || plugin === daemon) return "";
	return plugin.localeCompare(daemon, undefined, { numeric: true }) > 0
		? `This plugin (${plugin}) is newer than vaultgpt (${daemon}), so that some of it may not work: upgrade vaultgpt, as by pip install -U vaultgpt.`
		: `This plugin (${plugin}) is older than vaultgpt (${daemon}): run vaultgpt plugin install in a terminal, then reload Obsidian.`;
}

/** A voice by its day: "voice of last night". */
export function voiceOf({ created }: Pick<Generation, "created">, now = new Date()): string {
	return `voice of ${dayOf(new Date(created * 1000), now)}`;
}

/** "June 2021" for 2021-06; a year as it is. */
export function monthName(date: string): string {
	const [year, month] = date.split("-").map(Number);
	return year && month ? new Date(year, month - 1, 1).toLocaleDateString([], { month: "long", year: "numeric" }) : date;
}

/** Whose voice a note is written on in: "as #dream · June 2021 · voice of last night". */
export function voiceLabel(voice: { tags: readonly string[]; date: string | null }, writes: Generation | "base" | null, most = 3): string {
	const tags = voice.tags.slice(0, most).map((tag) => `#${tag}`);
	if (voice.tags.length > most) tags.push(`+${voice.tags.length - most}`);
	const whose = writes === "base" ? "the base, not your voice" : writes ? voiceOf(writes) : "nothing learned yet";
	const parts = [tags.join(" "), voice.date ? monthName(voice.date) : "", whose];
	return `as ${parts.filter((part) => part !== "").join(" · ")}`;
}

/** When a paused round goes on: "goes on tonight"; "" where that is not known. */
function goesOn(at: Date | null, now = new Date()): string {
	if (at === null) return "";
	const hours = (at.getTime() - now.getTime()) / 3_600_000;
	if (hours <= 0) return "goes on now";
	const night = at.getHours() < 6 || at.getHours() >= 21;
	if (hours < 24 && night) return "goes on tonight";
	return `goes on at ${at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })}`;
}

/** The status bar: the voice that writes, what waits, what is next; or what is being learned. */
export function statusLine(daemon: Daemon): string {
	const { online, status, progress } = daemon;
	if (!online || !status) return "mirror off";
	if (progress) return `${DOING[progress.phase] ?? "measuring"}… ${Math.round(progress.fraction * 100)} %`;
	const waiting = status.pending > 0 ? `${status.pending} ${status.pending === 1 ? "note" : "notes"} waiting` : "";
	const writes = writer(daemon);
	if (status.paused) return [`paused at ${Math.round(status.paused.fraction * 100)} %`, goesOn(status.paused.at)].filter(Boolean).join(", ");
	return [writes === "base" ? "the base writes, not your voice" : writes ? learned(writes) : "nothing learned yet", waiting].filter(Boolean).join(" · ");
}

/** The status bar's longer story, for its tooltip. */
export function statusStory(daemon: Daemon, voice: string): string {
	const { online, problem, status } = daemon;
	if (!online || !status) return problem ?? "The daemon is not running.";
	const next = status.next ? `Learns next: ${status.next}` : "";
	const said = [voice ? `This note: ${voice}` : "", writer(daemon) === "base" ? BASE_WRITES : "", next, status.lastVerdict ?? "", ...status.problems];
	return [...new Set(said.filter(Boolean).join("\n").split("\n"))].join("\n");
}

/** What the test said of a voice. */
export function verdict(generation: Generation): string {
	if (generation.barred) return "Not to be used: it learned a note that was forgotten since.";
	const word = generation.promoted ? "Better" : "Kept back";
	return generation.why ? `${word}: ${generation.why}` : `${word}.`;
}

/** The report in the daemon's own sentences; where it has none, what the test said. */
export function reportSentences(answer: Record<string, unknown> | null): string[] {
	if (!answer) return ["Nothing has been learned yet."];
	const lines = ordered(strings(answer["sentences"]));
	const why = text(record(answer["verdict"])["why"]);
	return lines.length > 0 || why === null ? lines : [why];
}

/** First whether it sounds like the author; the heading goes, and rows by tag and year come last. */
function ordered(lines: readonly string[]): string[] {
	const row = (line: string) => line.startsWith("  ");
	const told = lines.filter((line) => !row(line) && !line.endsWith(":"));
	return [...told, ...lines.filter(row).map((line) => line.trim())];
}

/** Why one note is used or not. */
export function noteSentence(answer: NoteAnswer): string {
	const used = answer.used ? "This note is learned from" : "This note is not used";
	const why = answer.why && !answer.used ? `: ${answer.why.replace(/\.$/, "")}.` : ".";
	const held = answer.keptAside ? ` ${answer.keptAside === "all" ? "It" : "A part of it"} is kept aside to measure with, and never learned.` : "";
	return `${used}${why}${held}${answer.problem ? ` Odd: ${answer.problem}.` : ""}`;
}

/** Whose words a note or a month has; "" where all are the author's. */
export function wordsSentence({ words, mirror, edited }: Whose): string {
	if (words === 0 || mirror + edited === 0) return "";
	const share = (count: number) => `${Math.max(1, Math.round((100 * count) / words))} %`;
	return `${share(mirror)} of its words are the mirror's${edited > 0 ? `, and ${share(edited)} were edited since you took them` : ""}.`;
}

/** The months that have words of the mirror, the newest first; of many the newest. */
export function monthSentences(months: Readonly<Record<string, Whose>>, most = 6): string[] {
	const newest = Object.entries(months).sort(([a], [b]) => b.localeCompare(a));
	const told = newest.map(([month, whose]) => [month === "" ? "Without a date" : monthName(month), wordsSentence(whose)]);
	return told.filter(([, sentence]) => sentence).slice(0, most).map(([name, sentence]) => `${name}: ${sentence}`);
}
