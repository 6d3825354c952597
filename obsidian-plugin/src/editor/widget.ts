/**
 * How a ghost is drawn: grey text after the cursor, a quiet "2/3", and whose voice it is.
 * Knows nothing about what its keys do. createSpan is Obsidian's own global.
 */
import { WidgetType } from "@codemirror/view";
import { offered, rest, type Ghost } from "./ghost.ts";

export class GhostWidget extends WidgetType {
	private constructor(
		readonly text: string,
		readonly counter: string,
		readonly label: string,
	) {
		super();
	}

	static of(ghost: Ghost): GhostWidget {
		const text = rest(ghost) ?? "";
		const all = offered(ghost);
		const at = all.indexOf(ghost.index) + 1;
		const counter = text && all.length > 1 ? `${at}/${all.length}` : "";
		return new GhostWidget(text, counter, ghost.label);
	}

	override eq(other: GhostWidget): boolean {
		return (
			this.text === other.text && this.counter === other.counter && this.label === other.label
		);
	}

	override toDOM(): HTMLElement {
		const box = createSpan({ cls: "vaultgpt-ghost", attr: { "aria-live": "polite" } });
		for (const part of ["text", "counter", "voice"]) box.createSpan({ cls: `vaultgpt-ghost-${part}` });
		this.updateDOM(box);
		return box;
	}

	override updateDOM(box: HTMLElement): boolean {
		const [text, counter, voice] = Array.from(box.children);
		if (!text || !counter || !voice) return false;
		box.classList.toggle("is-waiting", this.text === "");
		text.textContent = this.text || "…";
		counter.textContent = this.counter;
		voice.textContent = this.label;
		return true;
	}

	override ignoreEvent(): boolean {
		return false;
	}
}
