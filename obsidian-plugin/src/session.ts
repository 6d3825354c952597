/**
 * One continuation from request to ghost: streams pieces into an editor, stops the daemon when the
 * ghost is gone, keeps what was accepted. Knows nothing about Obsidian or how the bytes travel.
 */
import type { EditorView } from "@codemirror/view";
import type { Completion, Piece } from "./daemon/api.ts";
import { isAbort, sentenceOf } from "./daemon/problem.ts";
import { ghostOf, type GhostHost } from "./editor/extension.ts";
import { addPieces, dismissGhost, endStream, restoreGhost, startGhost, type Ghost } from "./editor/ghost.ts";

export interface SessionHost {
	complete(body: Completion, signal: AbortSignal): AsyncIterable<Piece>;
	/** The author took `text` of continuation `id` into the note at `path`. */
	keep(id: string, text: string, path: string | null): void;
	/** A continuation in which something was taken is over: what was kept may be reported. */
	report(): void;
	say(sentence: string): void;
}

interface Last {
	readonly view: EditorView;
	readonly ghost: Ghost;
	readonly before: string;
}

/** Characters before the cursor that must be the same for an old ghost to belong there. */
const SAME_CHARS = 200;
/** Continuations whose note is remembered; far more than can be up at once. */
const MOST_KNOWN = 100;

export class Session implements GhostHost {
	/** The last request, as it was sent. */
	lastRequest: Completion | null = null;
	private readonly running = new Map<number, AbortController>();
	private readonly paths = new Map<number, string | null>();
	private readonly name = crypto.randomUUID().slice(0, 8);
	private last: Last | null = null;
	private count = 0;

	constructor(private readonly host: SessionHost) {}

	/** Put up an empty ghost at `pos` and fill it; comes back when the stream has ended. */
	async start(view: EditorView, pos: number, body: Completion, label: string, path: string | null): Promise<void> {
		const id = ++this.count;
		const stopper = new AbortController();
		this.running.set(id, stopper);
		this.paths.set(id, path);
		this.paths.delete(id - MOST_KNOWN);
		this.lastRequest = body;
		view.dispatch({ selection: { anchor: pos }, effects: startGhost.of({ id, pos, count: body.n, label }) });
		try {
			for await (const { index, text, done } of this.host.complete(body, stopper.signal)) {
				if (stopper.signal.aborted) return;
				view.dispatch({ effects: addPieces.of([{ id, index, text, done }]) });
			}
			this.ended(view, id, "Nothing came to mind here.");
		} catch (error) {
			if (isAbort(error) || stopper.signal.aborted) this.ended(view, id, null);
			else this.broken(view, id, sentenceOf(error));
		} finally {
			this.running.delete(id);
		}
	}

	/** End the stream; what has arrived stays up. False when none is under way. */
	stop(view: EditorView): boolean {
		const ghost = ghostOf(view);
		const stopper = ghost && this.running.get(ghost.id);
		stopper?.abort();
		if (ghost && stopper) this.ended(view, ghost.id, null);
		return stopper !== undefined && stopper !== null;
	}

	/** Show the last ghost again, where it was. False when the place is not the same any more. */
	restore(view: EditorView): boolean {
		const { last } = this;
		const { head } = view.state.selection.main;
		if (!last || last.view !== view || view.state.sliceDoc(head - SAME_CHARS, head) !== last.before) return false;
		const done = last.ghost.texts.map(() => true);
		view.dispatch({ effects: restoreGhost.of({ ...last.ghost, pos: head, done, composing: null }) });
		return ghostOf(view) !== null;
	}

	/** Stop everything, as when the plugin is turned off. */
	close(): void {
		for (const stopper of this.running.values()) stopper.abort();
		this.running.clear();
		this.last = null;
	}

	accepted(id: number, taken: string): void {
		this.host.keep(`${this.name}-${id}`, taken, this.paths.get(id) ?? null);
	}

	gone(id: number, last: Ghost, view: EditorView): void {
		this.running.get(id)?.abort();
		const { pos, taken } = last;
		const before = view.state.sliceDoc(Math.max(0, pos - SAME_CHARS), pos);
		if (last.texts.some((text) => text.length > taken.length)) this.last = { view, ghost: last, before };
		this.host.report();
	}

	private ended(view: EditorView, id: number, empty: string | null): void {
		const ghost = ghostOf(view);
		if (ghost?.id !== id) return;
		const nothing = ghost.texts.every((text) => text === "");
		view.dispatch({ effects: nothing ? dismissGhost.of(null) : endStream.of(id) });
		if (nothing && empty) this.host.say(empty);
	}

	private broken(view: EditorView, id: number, sentence: string): void {
		this.ended(view, id, null);
		this.host.say(sentence);
	}
}
