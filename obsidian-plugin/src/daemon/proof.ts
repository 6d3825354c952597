/**
 * Who listens on the daemon's port proves that it holds the token, before it is told the token or a
 * word: it answers a challenge with a keyed hash (docs/http.md). Knows nothing about connections.
 */
import { abortError, otherProgram, silent, type Problem } from "./problem.ts";

const CONTEXT = "vaultgpt health 1\n";
const BYTES = 32;
/** Who has not answered by then (ms) is not our daemon. */
const PROOF_MS = 5_000;

/** The body that is answered to a GET of `path`, until `limit` is up. */
export type Ask = (path: string, limit: AbortSignal) => Promise<string>;

/** What is said of who does not prove itself, or says nothing. */
export interface Said {
	strange?: () => Problem;
	silent?: () => Problem;
}

/**
 * What `ask` reaches holds `token`, or a Problem (an AbortError once `signal` is up). `place` is the port, or
 * the name of the author's own proxy: part of the proof, which is worth nothing elsewhere.
 */
export async function prove(token: string, place: number | string, ask: Ask, signal?: AbortSignal, said: Said = {}): Promise<void> {
	if (signal?.aborted) throw abortError();
	const limit = new AbortController();
	const over = () => limit.abort();
	const timer = window.setTimeout(over, PROOF_MS);
	signal?.addEventListener("abort", over);
	const asked = hexOf(crypto.getRandomValues(new Uint8Array(BYTES)));
	try {
		const answer = await ask(`/health?challenge=${asked}`, limit.signal);
		if (!(await proves(answer, token, place, asked))) throw said.strange?.() ?? otherProgram(Number(place));
	} catch (error) {
		if (signal?.aborted) throw abortError();
		throw limit.signal.aborted ? (said.silent?.() ?? silent(Number(place))) : error;
	} finally {
		window.clearTimeout(timer);
		signal?.removeEventListener("abort", over);
	}
}

async function proves(answer: string, token: string, place: number | string, asked: string): Promise<boolean> {
	const given = bytesOf(proofIn(answer));
	if (given.length !== 32) return false;
	const text = new TextEncoder();
	const key = await crypto.subtle.importKey("raw", text.encode(token), { name: "HMAC", hash: "SHA-256" }, false, ["verify"]);
	const message = new Uint8Array([...text.encode(`${CONTEXT}${place}\n`), ...bytesOf(asked)]);
	return crypto.subtle.verify("HMAC", key, given, message); // in constant time
}

function proofIn(answer: string): string {
	try {
		const { proof } = JSON.parse(answer) as { proof?: unknown };
		return typeof proof === "string" ? proof : "";
	} catch {
		return "";
	}
}

function hexOf(bytes: Uint8Array): string {
	return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function bytesOf(hex: string): Uint8Array<ArrayBuffer> {
	return new Uint8Array((hex.match(/[0-9a-f]{2}/g) ?? []).map((pair) => parseInt(pair, 16)));
}
