/** Whose voice, in words: "as #dream · 2019 · g000012". Pure functions of values. */
import type { Reading } from "./voice.ts";

/** The voice that a continuation will have; `generation` is null before the first one. */
export function voiceLabel(
	reading: Pick<Reading, "tags" | "date">,
	generation: string | null,
	most = 3,
): string {
	const tags = reading.tags.slice(0, most).map((tag) => `#${tag}`);
	if (reading.tags.length > most) tags.push(`+${reading.tags.length - most}`);
	const parts = [tags.join(" "), reading.date ?? "", generation ?? "base"];
	return `as ${parts.filter((part) => part !== "").join(" · ")}`;
}
