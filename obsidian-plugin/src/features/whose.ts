/**
 * Whose words are these: a toggle that tints what the mirror wrote and the author took, and what of it
 * was edited since. By the daemon's provenance; nothing is written into the note.
 */
import type { EditorView } from "@codemirror/view";
import { Component, MarkdownView } from "obsidian";
import type { Core } from "../core.ts";
import { codeUnits } from "../daemon/answers.ts";
import type { Provenance } from "../daemon/api.ts";
import { marking, type Mark } from "../editor/marks.ts";
import { isNote } from "../note/openNote.ts";
import { wordsSentence } from "../words.ts";
import { viewOf } from "./writing.ts";

const TITLES = { mirror: "The mirror wrote this, and you took it", edited: "You changed this since you took it" };

export class Whose extends Component {
	private on = false;
	private readonly marks = marking();

	constructor(private readonly core: Core) {
		super();
	}

	override onload(): void {
		const { app, plugin } = this.core;
		plugin.registerEditorExtension(this.marks.extension);
		plugin.addCommand({ id: "whose", name: "Whose words are these?", icon: "feather", callback: () => void this.toggle() });
		const again = () => void this.show().catch(() => null); // the daemon is away, or has not read the note yet
		this.registerEvent(app.workspace.on("file-open", again));
		this.registerEvent(
			app.vault.on("modify", (file) => {
				if (file.path === this.core.notePath()) again();
			}),
		);
	}

	private async toggle(): Promise<void> {
		this.on = !this.on;
		const found = await this.show().catch((error: unknown) => this.core.complain(error));
		if (!this.on || !found) return;
		this.core.say(wordsSentence(found) || "All the words of this note are yours.");
	}

	/** Tint the open note, or take the tint away; what was found is given back. */
	private async show(): Promise<Provenance | null> {
		const note = this.core.app.workspace.getActiveViewOfType(MarkdownView);
		const [view, path] = [note && viewOf(note.editor), this.core.notePath()];
		if (!view || !path) return null;
		if (!this.on) {
			if (this.marks.isIn(view)) view.dispatch({ effects: this.marks.set.of([]) });
			return null;
		}
		if (!isNote(path) || !this.core.model.daemon.online) return null;
		const { doc } = view.state;
		const found = await this.core.api.provenance(path);
		const same = view.state.doc === doc && (await digest(doc.toString())) === found.sha256;
		if (this.on && same && view.state.doc === doc) this.tint(view, found); // else it is told once the note is saved
		return found;
	}

	private tint(view: EditorView, { spans }: Provenance): void {
		const units = codeUnits(view.state.doc.toString());
		const marks: Mark[] = spans.map(({ start, end, kind }) => ({
			from: units[start] ?? 0,
			to: units[end] ?? view.state.doc.length,
			cls: kind === "mirror" ? "vaultgpt-mirrors" : "vaultgpt-edited",
			title: TITLES[kind],
		}));
		view.dispatch({ effects: this.marks.set.of(marks.filter(({ from, to }) => from < to)) });
	}
}

async function digest(text: string): Promise<string> {
	const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
	return Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
