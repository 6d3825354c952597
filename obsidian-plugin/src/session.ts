/**
 * One continuation from request to ghost: streams pieces into an editor, stops the daemon when the
 * ghost is gone, keeps what was accepted. Knows nothing about Obsidian or how the bytes travel.
 */
import type { EditorState, StateEffect } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import type { Completion, Label, Piece } from "./daemon/api.ts";
import { isAbort } from "./daemon/problem.ts";
import { dismiss, ghostOf, type GhostHost } from "./editor/extension.ts";
import { addPieces, dismissGhost, endStream, labelGhost, rest, restoreGhost, startGhost, type Ghost } from "./editor/ghost.ts";
import { Branches, type Branch, SAME_CHARS as PLACE_CHARS } from "./note/branches.ts";
import type { Keys } from "./editor/keys.ts";

/** A note as Obsidian holds it: the same object after a rename. */
export interface NoteFile {
	readonly path: string;
}

export interface SessionHost {
	complete(body: Completion, signal: AbortSignal): AsyncIterable<Piece>;
	/** The author took `text` of continuation `id` into the note at `path`. */
	keep(id: string, text: string, path: string | null): void;
	/** A continuation in which something was taken is over: what was kept may be reported. */
	report(): void;
	say(sentence: string): void;
	complain(error: unknown): void;
	/** The note that an editor shows. */
	noteOf(state: EditorState): NoteFile | null;
	keys(): Keys;
	look(): string;
	touch(): boolean;
	/** What is said beside the ghost of its voice; "" for nothing. */
	voice(label: Label): string;
}

interface Last {
	readonly view: EditorView;
	readonly ghost: Ghost;
	readonly before: string;
	readonly note: NoteFile | null;
}

/** Characters before the cursor that must be the same for an old ghost to belong there. */
const SAME_CHARS = 200;
/** Continuations whose note is remembered; far more than can be up at once. */
const MOST_KNOWN = 100;

export class Session implements GhostHost {
	/** The last request, as it was sent. */
	lastRequest: Completion | null = null;
	private readonly running = new Map<number, AbortController>();
	private readonly notes = new Map<number, NoteFile | null>();
	/** What stood before each continuation where it began. */
	private readonly places = new Map<number, string>();
	private readonly starts = new Set<() => void>();
	private readonly judges = new Set<(taken: boolean) => void>();
	/** Ghosts that nobody asked for, and whether something of them was taken. */
	private readonly unasked = new Map<number, boolean>();
	private readonly name = crypto.randomUUID().slice(0, 8);
	readonly branches = new Branches();
	/** Which branch a ghost is that was put up again. */
	private readonly shown = new Map<number, string>();
	private last: Last | null = null;
	private closed = false;
	private count = 0;

	constructor(private readonly host: SessionHost) {}

	/** Hear of every continuation that begins. */
	onStart(listener: () => void): () => void {
		this.starts.add(listener);
		return () => this.starts.delete(listener);
	}

	/** Hear whether words that nobody asked for were taken, or dismissed. */
	onJudged(listener: (taken: boolean) => void): () => void {
		this.judges.add(listener);
		return () => this.judges.delete(listener);
	}

	noteOf(state: EditorState): NoteFile | null {
		return this.host.noteOf(state);
	}

	keys(): Keys {
		return this.host.keys();
	}

	look(): string {
		return this.host.look();
	}

	touch(): boolean {
		return this.host.touch();
	}

	/** Put up an empty ghost at `pos` and fill it; comes back when the stream has ended. */
	async start(view: EditorView, pos: number, body: Completion, note: NoteFile | null, begun = ""): Promise<void> {
		if (this.closed || !view.dom.isConnected) return; // turned off, or the note was closed, meanwhile
		for (const listener of this.starts) listener();
		const id = ++this.count;
		const stopper = new AbortController();
		this.running.set(id, stopper);
		this.notes.set(id, note);
		this.notes.delete(id - MOST_KNOWN);
		this.place(view, id, pos);
		this.places.delete(id - MOST_KNOWN);
		this.lastRequest = body;
		const { doc } = view.state;
		let labelled = false;
		view.dispatch({ selection: { anchor: pos }, effects: startGhost.of({ id, pos, count: body.n, note, begun }) });
		try {
			for await (const { index, text, done, label } of this.host.complete(body, stopper.signal)) {
				if (stopper.signal.aborted) return;
				if (label?.skip && !labelled) this.skip(view, id, view.state.doc === doc ? label.skip : null);
				labelled ||= label !== undefined;
				const named = label ? [labelGhost.of({ id, label: this.host.voice(label) })] : [];
				view.dispatch({ effects: [...named, addPieces.of([{ id, index, text, done }])] });
			}
			this.ended(view, id, "Nothing came to mind here.");
		} catch (error) {
			if (isAbort(error) || stopper.signal.aborted) this.ended(view, id, null);
			else {
				this.ended(view, id, null);
				this.host.complain(error);
			}
		} finally {
			this.running.delete(id);
		}
	}

	/** Take ghost and cursor to where the text is to stand; null where the note has changed meanwhile. */
	private skip(view: EditorView, id: number, by: number | null): void {
		const ghost = ghostOf(view);
		if (ghost?.id !== id) return;
		if (by === null) return void dismiss(view);
		const pos = ghost.pos + by;
		this.place(view, id, pos);
		view.dispatch({ selection: { anchor: pos }, effects: restoreGhost.of({ ...ghost, pos }) });
	}

	private place(view: EditorView, id: number, pos: number): void {
		this.places.set(id, view.state.sliceDoc(Math.max(0, pos - PLACE_CHARS), pos));
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
		if (!last || last.view !== view || last.note !== this.noteOf(view.state)) return false;
		if (view.state.sliceDoc(head - SAME_CHARS, head) !== last.before) return false;
		const done = last.ghost.texts.map(() => true);
		view.dispatch({ effects: restoreGhost.of({ ...last.ghost, pos: head, done, composing: null }) });
		return ghostOf(view) !== null;
	}

	/** Put a branch of the note's tree up at `pos`, where it belongs. */
	show(view: EditorView, pos: number, { id: branch, text }: Branch): void {
		const { effects } = this.whole(view, pos, text, branch);
		view.dispatch({ effects });
	}

	/** Put up words that nobody asked for, at the cursor. They are no branch, and not "the last one". */
	suggest(view: EditorView, text: string): void {
		if (this.closed) return;
		const { id, effects } = this.whole(view, view.state.selection.main.head, text, "");
		this.unasked.set(id, false);
		view.dispatch({ effects: [effects, EditorView.announce.of(text)] });
	}

	private whole(view: EditorView, pos: number, text: string, branch: string): { id: number; effects: StateEffect<Ghost> } {
		const id = ++this.count;
		const note = this.noteOf(view.state);
		this.notes.set(id, note);
		this.shown.set(id, branch);
		return { id, effects: restoreGhost.of({ id, pos, taken: "", texts: [text], done: [true], index: 0, label: "", note, composing: null }) };
	}

	/** Stop everything, as when the plugin is turned off. */
	close(): void {
		for (const stopper of this.running.values()) stopper.abort();
		this.running.clear();
		this.last = null;
		this.closed = true;
	}

	accepted(id: number, taken: string, ghost: Ghost): void {
		this.grow(ghost);
		if (this.unasked.get(id) === false) {
			this.unasked.set(id, true);
			this.judged(true);
		}
		const note = this.notes.get(id);
		if (note) this.branches.take(note, this.shown.get(id) ?? `${id}.${ghost.index}`, taken);
		this.host.keep(`${this.name}-${id}`, taken, this.notes.get(id)?.path ?? null);
	}

	gone(id: number, last: Ghost, view: EditorView): void {
		this.running.get(id)?.abort();
		this.grow(last);
		if (this.unasked.has(id)) this.judge(id, last, view);
		else this.remember(last, view);
		this.host.report();
	}

	private remember(last: Ghost, view: EditorView): void {
		const { pos, taken } = last;
		const before = view.state.sliceDoc(Math.max(0, pos - SAME_CHARS), pos);
		if (last.texts.some((text) => text.length > taken.length)) this.last = { view, ghost: last, before, note: last.note as NoteFile | null };
	}

	/** What became of words that nobody asked for. Left for another note or another ghost is neither. */
	private judge(id: number, { pos, taken, texts, note }: Ghost, view: EditorView): void {
		const known = this.unasked.get(id);
		for (const about of [this.unasked, this.notes, this.shown]) about.delete(id); // it is not put up again
		if (known) return;
		const start = pos - taken.length;
		const text = texts[0] ?? "";
		const whole = view.state.sliceDoc(start, start + text.length) === text;
		if (!whole && (ghostOf(view) || this.noteOf(view.state) !== note)) return;
		this.judged(whole);
	}

	private judged(taken: boolean): void {
		for (const listener of this.judges) listener(taken);
	}

	/** Keep what a ghost offers in the note's tree. */
	private grow(ghost: Ghost): void {
		const note = this.notes.get(ghost.id);
		if (!note || this.shown.has(ghost.id)) return;
		this.branches.keep(note, ghost.id, this.places.get(ghost.id) ?? "", ghost.texts);
	}

	private ended(view: EditorView, id: number, empty: string | null): void {
		const ghost = ghostOf(view);
		if (ghost?.id !== id) return;
		this.grow(ghost);
		const nothing = ghost.texts.every((text) => text === "");
		// Who listens rather than looks hears it once, when it is whole.
		const whole = [endStream.of(id), EditorView.announce.of(rest(ghost) ?? "")];
		view.dispatch({ effects: nothing ? dismissGhost.of(null) : whole });
		if (nothing && empty) this.host.say(empty);
	}
}
