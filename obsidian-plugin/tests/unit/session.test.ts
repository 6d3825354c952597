import { afterEach, expect, test, vi } from "vitest";
import type { Completion, Piece } from "../../src/daemon/api.ts";
import { abortError, brokenOff, notRunning } from "../../src/daemon/problem.ts";
import { accept, dismiss } from "../../src/editor/extension.ts";
import { Session } from "../../src/session.ts";
import { bench, Heard } from "./editor.ts";

afterEach(() => document.body.replaceChildren());

const BODY: Completion = { prompt: "", suffix: "", n: 1, seed: 1, stream: true, vaultgpt: { tags: [], length: "page" } };

/** A daemon at the seam of one completion: the test says what comes and when. */
class Source {
	kept: [string, string | null][] = [];
	said: string[] = [];
	aborted = 0;
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
			if (next !== undefined) yield { index: 0, text: next, done: false };
			else await new Promise<void>((resolve) => (this.wake = resolve));
		}
	}
}

function setup(doc: string) {
	const source = new Source();
	const session = new Session({
		complete: (body, signal) => source.complete(body, signal),
		keep: (_id, text, path) => source.kept.push([text, path]),
		report: () => undefined,
		say: (sentence) => source.said.push(sentence),
	});
	const host = new Heard();
	host.accepted = session.accepted.bind(session) as Heard["accepted"];
	host.gone = session.gone.bind(session) as unknown as Heard["gone"];
	const b = bench(doc, [], host);
	const start = () => session.start(b.view, b.view.state.selection.main.to, BODY, "as", "n.md");
	return { ...b, session, source, start };
}

test("pieces become the ghost; what is accepted is kept with its note", async () => {
	const s = setup("I ");
	const over = s.start();
	s.source.give("woke ");
	s.source.give("up");
	s.source.give(null);
	await over;
	expect(s.shown()).toBe("woke up");
	accept(s.view, "word");
	accept(s.view, "all");
	expect(s.doc()).toBe("I woke up");
	expect(s.source.kept).toEqual([["woke", "n.md"], ["woke up", "n.md"]]);
});

test("Escape stops the daemon at once", async () => {
	const s = setup("I ");
	const over = s.start();
	s.source.give("woke");
	await vi.waitFor(() => expect(s.shown()).toBe("woke"));
	s.press("Escape");
	expect(s.source.aborted).toBe(1);
	await over;
	expect(s.ghost()).toBeNull();
	expect(s.source.said).toEqual([]);
	expect(s.session.restore(s.view)).toBe(true);
	expect(s.shown()).toBe("woke");
});

test("a daemon that dies leaves what has arrived, and says so", async () => {
	const s = setup("I ");
	const over = s.start();
	s.source.give("woke");
	s.source.give(brokenOff());
	await over;
	expect(s.shown()).toBe("woke");
	expect(s.source.said[0]).toContain("can still be taken");
	s.press("Tab");
	expect(s.doc()).toBe("I woke");
});

test("a daemon that is not there leaves no ghost, one sentence and the command", async () => {
	const s = setup("I ");
	const over = s.start();
	s.source.give(notRunning("/v"));
	await over;
	expect(s.ghost()).toBeNull();
	expect(s.source.said).toEqual(['The daemon is not running: start it with vaultgpt serve "/v" in a terminal.']);
});

test("a second continuation stops the first, whose late pieces go nowhere", async () => {
	const s = setup("I ");
	const first = s.start();
	s.source.give("old");
	await vi.waitFor(() => expect(s.shown()).toBe("old"));
	const second = s.start();
	await first;
	expect(s.source.aborted).toBe(1);
	expect(s.shown()).toBe("");
	s.source.give("new");
	await vi.waitFor(() => expect(s.shown()).toBe("new"));
	s.source.give(null);
	await second;
});

test("stop keeps what has come; a selection is the prompt's end; closing stops all", async () => {
	const s = setup("I woke");
	s.view.dispatch({ selection: { anchor: 0, head: 6 } });
	const over = s.start();
	s.source.give(" up");
	await vi.waitFor(() => expect(s.shown()).toBe(" up"));
	expect(s.view.state.selection.main.head).toBe(6);
	expect(s.session.stop(s.view)).toBe(true);
	await over;
	expect(s.shown()).toBe(" up");
	expect(s.session.stop(s.view)).toBe(false);
	dismiss(s.view);
	const again = s.start();
	s.session.close();
	await again;
	expect(s.source.aborted).toBe(2);
});

test("an old ghost is not put back where the text has changed", async () => {
	const s = setup("I ");
	const over = s.start();
	s.source.give("woke");
	s.source.give(null);
	await over;
	s.press("Escape");
	s.type("x");
	expect(s.session.restore(s.view)).toBe(false);
});

test("nothing at all is said to be nothing", async () => {
	const s = setup("I ");
	const over = s.start();
	s.source.give(null);
	await over;
	expect(s.ghost()).toBeNull();
	expect(s.source.said).toEqual(["Nothing came to mind here."]);
});
