// A session over a daemon that the test speaks for, in a real editor.
import type { Completion, Piece } from "../../src/daemon/api.ts";
import { abortError, sentenceOf } from "../../src/daemon/problem.ts";
import { DEFAULT_KEYS } from "../../src/editor/keys.ts";
import { Session } from "../../src/session.ts";
import { bench, Heard } from "./editor.ts";

export const BODY: Completion = { n: 1, seed: 1, stream: true, vaultgpt: { note: { path: "n.md", text: "", cursor: 0, length: "page" } } };
const LABEL = { tags: ["dream"], date: null, title: null, refused: null, skip: 0, warning: null };

/** A daemon at the seam of one completion: the test says what comes and when. */
export class Source {
	kept: [string, string | null][] = [];
	said: string[] = [];
	aborted = 0;
	/** What the label says of it. */
	skip = 0;
	private readonly queue: (string | Error | null)[] = [];
	private wake = () => undefined as void;

	give(next: string | Error | null): void {
		this.queue.push(next);
		this.wake();
	}

	async *complete(_body: Completion, signal: AbortSignal): AsyncGenerator<Piece> {
		signal.addEventListener("abort", () => {
			this.aborted++;
			this.wake();
		});
		for (;;) {
			if (signal.aborted) throw abortError();
			const next = this.queue.shift();
			if (next === null) return;
			if (next instanceof Error) throw next;
			if (next !== undefined) yield { index: 0, text: next, done: false, label: { ...LABEL, skip: this.skip } };
			else await new Promise<void>((resolve) => (this.wake = resolve));
		}
	}
}

export function setup(doc: string) {
	const source = new Source();
	const file = { path: "n.md" };
	const session = new Session({
		complete: (body, signal) => source.complete(body, signal),
		keep: (_id, text, path) => source.kept.push([text, path]),
		report: () => undefined,
		say: (sentence) => source.said.push(sentence),
		complain: (error) => source.said.push(sentenceOf(error)),
		noteOf: () => file,
		keys: () => DEFAULT_KEYS,
		look: () => "plain",
		touch: () => false,
		voice: ({ tags }) => `as #${tags.join(" #")}`,
	});
	const host = new Heard();
	host.note = file;
	host.accepted = session.accepted.bind(session) as Heard["accepted"];
	host.gone = session.gone.bind(session) as unknown as Heard["gone"];
	const b = bench(doc, [], host);
	const start = () => session.start(b.view, b.view.state.selection.main.to, BODY, file);
	return { ...b, session, source, start, file, host };
}
