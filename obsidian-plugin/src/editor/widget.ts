/**
 * How a ghost is drawn: its text at the cursor, and at the end of the line, past the author's own
 * words, a quiet "2/3" and whose voice it is. createSpan is Obsidian's own global.
 */
import { WidgetType, type EditorView } from "@codemirror/view";
import type { Act } from "./keys.ts";
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

/** What a finger does with a ghost, where there may be no keys. */
export type Press = (view: EditorView, act: Act) => void;

const BUTTONS: Partial<Record<Act, string>> = { all: "Take it", word: "A word", next: "Another", dismiss: "No" };

/** What is said of it, and its buttons on a touch screen. */
export class NoteWidget extends WidgetType {
	private constructor(
		readonly counter: string,
		readonly label: string,
		/** Those that can be pressed now; none where there are keys. */
		readonly acts: readonly Act[],
		private readonly press: Press | null,
	) {
		super();
	}

	/** Null where there is nothing to say. */
	static of(ghost: Ghost, press: Press | null): NoteWidget | null {
		const all = offered(ghost);
		const at = all.indexOf(ghost.index) + 1;
		const counter = rest(ghost) && all.length > 1 ? `${at}/${all.length}` : "";
		const can: Act[] = rest(ghost) ? ["all", "word", ...(counter ? (["next"] as const) : []), "dismiss"] : ["dismiss"];
		const acts = press ? can : [];
		return counter || ghost.label || press ? new NoteWidget(counter, ghost.label, acts, press) : null;
	}

	override eq(other: NoteWidget): boolean {
		return this.counter === other.counter && this.label === other.label && this.acts.join() === other.acts.join();
	}

	override toDOM(view: EditorView): HTMLElement {
		const box = createSpan({ cls: "vaultgpt-ghost-note" });
		for (const part of ["counter", "voice"]) box.createSpan({ cls: `vaultgpt-ghost-${part}`, attr: { "aria-hidden": "true" } });
		const buttons = box.createSpan({ cls: "vaultgpt-ghost-buttons" });
		for (const act of this.acts) {
			const button = buttons.createEl("button", { text: BUTTONS[act] ?? act, attr: { type: "button", "data-act": act } });
			button.addEventListener("pointerdown", (event) => event.preventDefault()); // the note keeps the focus, and its keyboard
			button.addEventListener("mousedown", (event) => event.preventDefault());
			button.addEventListener("click", () => this.press?.(view, act));
		}
		this.updateDOM(box);
		return box;
	}

	/** The editor leaves the buttons alone. */
	override ignoreEvent(): boolean {
		return this.acts.length > 0;
	}

	override updateDOM(box: HTMLElement): boolean {
		const [counter, voice, buttons] = Array.from(box.children);
		if (!counter || !voice || !buttons) return false;
		if (Array.from(buttons.children, (button) => button.getAttribute("data-act")).join() !== this.acts.join()) return false;
		counter.textContent = this.counter;
		voice.textContent = this.label;
		return true;
	}
}
