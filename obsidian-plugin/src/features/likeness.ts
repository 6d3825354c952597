/**
 * What is unlike me here: marks the sentence least like the author and the one most like them, and
 * finds this month's surprises. It writes nothing: for who wants no writing machine in a diary.
 */
import { Component, MarkdownView } from "obsidian";
import type { Core } from "../core.ts";
import type { JudgedSentence } from "../daemon/api.ts";
import { marking } from "../editor/marks.ts";
import { isNote } from "../note/openNote.ts";
import { BASE_WRITES, writer } from "../words.ts";
import { fileOf, viewOf } from "./writing.ts";

export interface Surprise {
	readonly path: string;
	readonly name: string;
	readonly sentence: string;
}

/** Notes of the month that are looked at, the newest first, and surprises that are told. */
const MOST_NOTES = 20;
const MOST_SURPRISES = 8;
/** Fewer sentences than these are not compared. */
const LEAST_SENTENCES = 3;

export class Likeness extends Component {
	/** Null before they were looked for. */
	surprises: readonly Surprise[] | null = null;
	private readonly marks = marking();
	private asking = new AbortController();
	private readonly over = new AbortController();

	constructor(private readonly core: Core) {
		super();
	}

	override onload(): void {
		const { plugin } = this.core;
		plugin.registerEditorExtension(this.marks.extension);
		const run = () => void this.mark().catch((error: unknown) => this.core.complain(error));
		plugin.addCommand({ id: "unlike", name: "What is unlike me here?", icon: "feather", callback: run });
	}

	override onunload(): void {
		this.asking.abort();
		this.over.abort();
	}

	/** Mark the note on screen; a second time takes the marks away. */
	private async mark(): Promise<void> {
		const note = this.core.app.workspace.getActiveViewOfType(MarkdownView);
		const view = note && viewOf(note.editor);
		const file = view && fileOf(view.state);
		if (!view || !file) return void this.core.say("Open a note first.");
		if (this.marks.isIn(view)) return view.dispatch({ effects: this.marks.set.of([]) });
		const { doc } = view.state;
		this.asking.abort();
		const { signal } = (this.asking = new AbortController());
		const { refused, sentences } = await this.core.api.likeness(pathOf(file.path), doc.toString(), signal);
		if (refused) return void this.core.say(refused);
		if (view.state.doc !== doc) return; // written on meanwhile
		const found = extremes(sentences);
		if (!found) return void this.core.say("There are too few sentences here to compare.");
		const { least, most } = found;
		view.dispatch({
			effects: this.marks.set.of([
				{ from: least.start, to: least.end, cls: "vaultgpt-unlike", title: `Least like you here: ${gained(least)}` },
				{ from: most.start, to: most.end, cls: "vaultgpt-like", title: `Most like you here: ${gained(most)}` },
			]),
		});
		this.core.say("The sentence least like you here has a wavy line, the one most like you a dotted one. The same command takes them away.");
	}

	/** This month's notes, each with its sentence least like the author, the least like first. */
	async lookForSurprises(now = new Date()): Promise<void> {
		const writes = writer(this.core.model.daemon);
		if (writes === null || writes === "base") return void this.core.say(writes ? BASE_WRITES : "Nothing has been learned yet.");
		const since = new Date(now.getFullYear(), now.getMonth(), 1).getTime();
		const files = this.core.app.vault.getMarkdownFiles().filter(({ stat }) => stat.mtime >= since);
		const newest = files.sort((a, b) => b.stat.mtime - a.stat.mtime).slice(0, MOST_NOTES);
		const found: (Surprise & { gain: number })[] = [];
		for (const file of newest) {
			const text = await this.core.app.vault.cachedRead(file);
			const { sentences } = await this.core.api.likeness(pathOf(file.path), text, this.over.signal);
			const least = extremes(sentences)?.least;
			if (least) found.push({ path: file.path, name: file.basename, sentence: text.slice(least.start, least.end), gain: least.gain });
		}
		this.surprises = found.sort((a, b) => a.gain - b.gain).slice(0, MOST_SURPRISES);
	}
}

function pathOf(path: string): string | null {
	return isNote(path) ? path : null;
}

/** The least and the most like the author; null where there is too little to compare. */
function extremes(all: readonly JudgedSentence[]): { least: JudgedSentence; most: JudgedSentence } | null {
	const sorted = [...all].sort((a, b) => a.gain - b.gain);
	const [least, most] = [sorted[0], sorted.at(-1)];
	return sorted.length >= LEAST_SENTENCES && least && most ? { least, most } : null;
}

function gained({ gain }: JudgedSentence): string {
	const side = gain >= 0 ? "less" : "more";
	return `your voice finds it ${Math.abs(100 * gain).toFixed(0)} % ${side} surprising than it did before it learned from you`;
}
