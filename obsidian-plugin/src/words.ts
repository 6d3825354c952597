/** What the daemon's figures mean, in sentences. Pure functions of values. */
import { figure, record, text, type Generation, type NoteAnswer } from "./daemon/api.ts";
import type { Daemon } from "./daemon/model.ts";

const DOING: Record<string, string> = { read: "reading", load: "reading", train: "learning" };

/** The status bar: the active generation, what waits, what is next; or what is being learned. */
export function statusLine({ online, status, progress }: Daemon): string {
	if (!online || !status) return "mirror off";
	if (progress) return `${DOING[progress.phase] ?? "measuring"}… ${Math.round(progress.fraction * 100)} %`;
	const waiting = status.pending > 0 ? `${status.pending} ${status.pending === 1 ? "note" : "notes"} waiting` : "";
	return [status.active ?? "no generation yet", waiting].filter(Boolean).join(" · ");
}

/** The status bar's longer story, for its tooltip. */
export function statusStory({ online, problem, status }: Daemon, voice: string): string {
	if (!online || !status) return problem ?? "The daemon is not running.";
	const next = status.next ? `Next training: ${status.next}` : "";
	return [voice ? `This note: ${voice}` : "", next, status.lastVerdict ?? "", ...status.problems].filter(Boolean).join("\n");
}

/** How much less a generation is surprised by unseen pages than its base. */
function gain(after: number | null, base: number | null): string | null {
	if (!after || !base) return null;
	const percent = 100 * (1 - after / base);
	const side = percent >= 0 ? "less" : "more";
	return `${Math.abs(percent).toFixed(1)} % ${side} surprised by your pages than its base`;
}

/** One generation's verdict in words. */
export function verdict(generation: Generation): string {
	if (generation.barred) return "Barred: it learned a note that was forgotten.";
	const word = generation.promoted ? "Promoted" : "Kept back";
	return generation.why ? `${word}: ${generation.why}` : `${word}.`;
}

/** The last round's report, a sentence each; the daemon's own sentences when it gives some. */
export function reportSentences(answer: Record<string, unknown> | null): string[] {
	if (!answer) return ["Nothing has been learned yet."];
	const given = answer["sentences"];
	const lines = Array.isArray(given) ? given.filter((line): line is string => typeof line === "string" && line !== "") : [];
	if (lines.length > 0) return lines;
	const report = record(answer["report"] ?? answer);
	const bits = record(report["bits_per_byte"]);
	const [held, base] = [figure(bits["held_out"]), figure(bits["held_out_base"])];
	const better = gain(held, base);
	const general = [figure(bits["general_base"]), figure(bits["general"])];
	const judged = record(answer["verdict"]);
	const why = text(judged["why"]) ?? text(answer["verdict"]);
	const copying = record(report["copying"]);
	const [share, own, longest] = [figure(copying["share"]), figure(copying["author_share"]), figure(copying["longest"])];
	return [
		better ? `${better} (${base?.toFixed(3)} → ${held?.toFixed(3)} bits per byte).` : "",
		general[0] && general[1] ? `Plain English: ${general[0].toFixed(3)} → ${general[1].toFixed(3)} bits per byte.` : "",
		longest !== null ? `Longest copy ${longest} words.` : "",
		share !== null && own !== null ? `It repeats runs of eight words in ${percent(share)} of its text, you in ${percent(own)}.` : "",
		...gains(report["by_tag"]),
		better ? "" : (why ?? ""),
	].filter(Boolean);
}

/** The tags it learned best, and how well. */
function gains(byTag: unknown): string[] {
	const all = Object.entries(record(byTag)).flatMap(([tag, row]) => {
		const [after, base] = [figure(record(row)["after"]), figure(record(row)["base"])];
		return after && base ? [{ tag, share: 1 - after / base }] : [];
	});
	const best = all.filter(({ share }) => share > 0).sort((a, b) => b.share - a.share).slice(0, 3);
	return best.length > 0 ? [`Learned best: ${best.map(({ tag, share }) => `#${tag} (${percent(share)})`).join(", ")}.`] : [];
}

function percent(share: number): string {
	return `${(100 * share).toFixed(1)} %`;
}

/** Why one note is used or not. */
export function noteSentence(answer: NoteAnswer): string {
	const used = answer.used ? "This note is learned from" : "This note is not used";
	const why = answer.why && !answer.used ? `: ${answer.why.replace(/\.$/, "")}.` : ".";
	const held = answer.heldOut ? " It is kept aside to measure with, and never learned." : "";
	return `${used}${why}${held}${answer.problem ? ` Odd: ${answer.problem}.` : ""}`;
}
