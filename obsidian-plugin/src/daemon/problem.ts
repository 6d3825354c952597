/** What can go wrong between the plugin and the daemon, each with a sentence for the author. */
export type ProblemKind = "not set up" | "not running" | "refused" | "broken off" | "no transport";

/** An expected failure; its message is shown as it is. */
export class Problem extends Error {
	constructor(
		readonly kind: ProblemKind,
		message: string,
		readonly status: number | null = null,
	) {
		super(message);
		this.name = "Problem";
	}
}

/** The daemon's own sentence from an error's body, or one with the status. */
export function refusal(status: number, body: string): Problem {
	return new Problem("refused", messageOf(body) ?? `The daemon answered with status ${status}.`, status);
}

/** `error.message` of an error's body; null when there is none. */
export function messageOf(body: string): string | null {
	try {
		const value = JSON.parse(body) as { error?: { message?: unknown } } | null;
		const message = value?.error?.message;
		return typeof message === "string" && message ? message : null;
	} catch {
		return null;
	}
}

export function notRunning(vault: string): Problem {
	return new Problem("not running", `The daemon is not running: start it with vaultgpt serve "${vault}" in a terminal.`);
}

export function notSetUp(vault: string): Problem {
	return new Problem("not set up", `This vault is not set up yet: run vaultgpt init "${vault}" in a terminal.`);
}

export function brokenOff(): Problem {
	return new Problem("broken off", "The daemon stopped before it had finished; what has arrived can still be taken.");
}

/** Whether a failure is only that its request was called off. */
export function isAbort(error: unknown): boolean {
	return error instanceof Error && error.name === "AbortError";
}

export function abortError(): Error {
	const error = new Error("called off");
	error.name = "AbortError";
	return error;
}

/** One sentence about any failure. */
export function sentenceOf(error: unknown): string {
	return error instanceof Problem ? error.message : "Something went wrong between Obsidian and the daemon.";
}
