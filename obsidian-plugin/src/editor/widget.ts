/**
 * How a ghost is drawn: its text at the cursor, and at the end of the line, past the author's own
 * words, a quiet "2/3" and whose voice it is. createSpan is Obsidian's own global.
 */
import { WidgetType } from "@codemirror/view";
import { offered, rest, type Ghost } from "./ghost.ts";

/** The proposed text. */
export class GhostWidget extends WidgetType {
	private constructor(
		readonly text: string,
		readonly look: string,
	) {
		super();
	}

	static of(ghost: Ghost, look: string): GhostWidget {
		return new GhostWidget(rest(ghost) ?? "", look);
	}

	override eq(other: GhostWidget): boolean {
		return this.text === other.text && this.look === other.look;
	}

	override toDOM(): HTMLElement {
		const box = createSpan({ cls: `vaultgpt-ghost is-${this.look}` });
		box.createSpan({ cls: "vaultgpt-ghost-text" });
		this.updateDOM(box);
		return box;
	}

	override updateDOM(box: HTMLElement): boolean {
		const [text] = Array.from(box.children);
		if (!text || !box.classList.contains(`is-${this.look}`)) return false;
		box.classList.toggle("is-waiting", this.text === "");
		text.textContent = this.text || "…";
		return true;
	}

	override ignoreEvent(): boolean {
		return false;
	}
}

/** What is said of it. */
export class NoteWidget extends WidgetType {
	private constructor(
		readonly counter: string,
		readonly label: string,
	) {
		super();
	}

	/** Null where there is nothing to say. */
	static of(ghost: Ghost): NoteWidget | null {
		const all = offered(ghost);
		const at = all.indexOf(ghost.index) + 1;
		const counter = rest(ghost) && all.length > 1 ? `${at}/${all.length}` : "";
		return counter || ghost.label ? new NoteWidget(counter, ghost.label) : null;
	}

	override eq(other: NoteWidget): boolean {
		return this.counter === other.counter && this.label === other.label;
	}

	override toDOM(): HTMLElement {
		const box = createSpan({ cls: "vaultgpt-ghost-note", attr: { "aria-hidden": "true" } });
		for (const part of ["counter", "voice"]) box.createSpan({ cls: `vaultgpt-ghost-${part}` });
		this.updateDOM(box);
		return box;
	}

	override updateDOM(box: HTMLElement): boolean {
		const [counter, voice] = Array.from(box.children);
		if (!counter || !voice) return false;
		counter.textContent = this.counter;
		voice.textContent = this.label;
		return true;
	}
}
