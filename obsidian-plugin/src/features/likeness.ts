/**
 * What is unlike me here: marks the sentence least like the author and the one most like them, and
 * finds this month's surprises. It writes nothing: for who wants no writing machine in a diary.
 */
import { Component, MarkdownView, type TFile } from "obsidian";
import type { EditorView } from "@codemirror/view";
import type { Core } from "../core.ts";
import type { Label } from "../daemon/api.ts";
import { marking } from "../editor/marks.ts";
import { extremes, judged, passagesOf, type Likeness as Judged } from "../note/likeness.ts";
import { fileOf, viewOf, type Writing } from "./writing.ts";

export interface Surprise {
	readonly path: string;
	readonly name: string;
	readonly sentence: string;
}

/** Notes of the month that are looked at, the newest first, and surprises that are told. */
const MOST_NOTES = 20;
const MOST_SURPRISES = 8;

export class Likeness extends Component {
	/** Null before they were looked for. */
	surprises: readonly Surprise[] | null = null;
	private readonly marks = marking();

	constructor(
		private readonly core: Core,
		private readonly writing: Writing,
	) {
		super();
	}

	override onload(): void {
		const { plugin } = this.core;
		plugin.registerEditorExtension(this.marks.extension);
		const run = () => void this.mark().catch((error: unknown) => this.core.complain(error));
		plugin.addCommand({ id: "unlike", name: "What is unlike me here?", icon: "feather", callback: run });
	}

	/** Mark the note on screen; a second time takes the marks away. */
	private async mark(): Promise<void> {
		const note = this.core.app.workspace.getActiveViewOfType(MarkdownView);
		const view = note && viewOf(note.editor);
		if (!view) return void this.core.say("Open a note first.");
		if (this.marks.isIn(view)) return view.dispatch({ effects: this.marks.set.of([]) });
		const { doc } = view.state;
		const label = await this.label(view);
		const found = label && extremes(await this.judge(doc.toString(), label));
		if (!label || view.state.doc !== doc) return; // refused, or written on meanwhile
		if (!found) return void this.core.say("There are too few sentences here to compare.");
		const { least, most } = found;
		view.dispatch({
			effects: this.marks.set.of([
				{ from: least.from, to: least.to, cls: "vaultgpt-unlike", title: `Least like you here: ${gained(least)}` },
				{ from: most.from, to: most.to, cls: "vaultgpt-like", title: `Most like you here: ${gained(most)}` },
			]),
		});
		this.core.say("The sentence least like you here has a wavy line, the one most like you a dotted one. The same command takes them away.");
	}

	/** This month's notes, each with its sentence least like the author, the least like first. */
	async lookForSurprises(now = new Date()): Promise<void> {
		const since = new Date(now.getFullYear(), now.getMonth(), 1).getTime();
		const files = this.core.app.vault.getMarkdownFiles().filter(({ stat }) => stat.mtime >= since);
		const newest = files.sort((a, b) => b.stat.mtime - a.stat.mtime).slice(0, MOST_NOTES);
		const found: (Surprise & { gain: number })[] = [];
		for (const file of newest) {
			const least = await this.leastOf(file);
			if (least) found.push({ path: file.path, name: file.basename, sentence: least.text, gain: least.gain });
		}
		this.surprises = found.sort((a, b) => a.gain - b.gain).slice(0, MOST_SURPRISES);
	}

	private async leastOf(file: TFile): Promise<Judged | null> {
		const text = await this.core.app.vault.cachedRead(file);
		const label = await this.core.api.label({ note: { path: file.path, text, cursor: text.length, length: "sentence" } });
		if (label.refused) return null;
		return extremes(await this.judge(text, label))?.least ?? null;
	}

	private async label(view: EditorView): Promise<Label | null> {
		const { vaultgpt } = this.writing.body(view, view.state.doc.length, {});
		const label = await this.core.api.label(vaultgpt);
		if (label.refused) this.core.say(label.refused);
		return label.refused || !fileOf(view.state) ? null : label;
	}

	private async judge(text: string, { tags, date }: Label): Promise<Judged[]> {
		const passages = passagesOf(text);
		if (passages.length === 0) return [];
		const texts = passages.map((passage) => passage.text);
		const [voice, base] = [await this.core.api.scores(texts, "mirror", { tags, date }), await this.core.api.scores(texts, "base", { tags, date })];
		return passages.flatMap((passage, n) => judged(passage, voice[n] ?? [], base[n] ?? []));
	}
}

function gained({ gain }: Judged): string {
	const side = gain >= 0 ? "less" : "more";
	return `it surprises your voice ${Math.abs(100 * gain).toFixed(0)} % ${side} than the base it was learned on`;
}
