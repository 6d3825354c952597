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

/** What listens on the port has not proved that it is this vault's daemon. */
export function otherProgram(port: number): Problem {
	return new Problem("not running", `Another program listens on port ${port}, where this vault's daemon was: start the daemon again with vaultgpt serve.`);
}

/** The same where address and token were given by hand. */
export function otherToken(address: string): Problem {
	return new Problem("not running", `What listens at ${address} does not hold the token given here, and a daemon makes a new one whenever it starts: paste what vaultgpt token prints in the settings of this plugin. On the desktop, clear address and token there, and the daemon is found by itself.`);
}

export function silent(port: number): Problem {
	return new Problem("not running", `The daemon on port ${port} took the call and says nothing: stop it, and start it again with vaultgpt serve.`);
}

/** The same where a phone asks. */
export function codeRefused(address: string): Problem {
	return new Problem("not running", `What answers at ${address} is not the daemon that this phone was paired with, or lets it in no more: scan the code on the page that vaultgpt open shows at home.`);
}

export function unreachable(address: string): Problem {
	return new Problem("not running", `Nothing answers at ${address}: is the computer at home awake, its daemon running, and this phone in the same private network?`);
}

export function silentHome(address: string): Problem {
	return new Problem("not running", `What answers at ${address} takes too long: try again when the network is better.`);
}

export function notSetUp(vault: string): Problem {
	return new Problem("not set up", `This vault is not set up yet: run vaultgpt init "${vault}" in a terminal. If you did, give the daemon's state folder in the settings of this plugin.`);
}

/** A vault that was set up where there is no folder any more: it was renamed or moved. */
export function movedHere(vault: string, old: string): Problem {
	return new Problem("not set up", `This vault is not set up under its name of now: if it was "${old}" before, run vaultgpt init "${vault}" --adopt "${old}" in a terminal.`);
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
