import { history, historyKeymap, defaultKeymap, indentWithTab } from "@codemirror/commands";
import { EditorState, type Extension } from "@codemirror/state";
import { EditorView, keymap } from "@codemirror/view";
import { ghostExtension, ghostField, type GhostHost } from "../../src/editor/extension.ts";
import { DEFAULT_KEYS, type Keys } from "../../src/editor/keys.ts";
import { addPieces, labelGhost, rest, startGhost, type Ghost } from "../../src/editor/ghost.ts";

export class Heard implements GhostHost {
	taken: string[] = [];
	gone_: number[] = [];
	chords: Keys = DEFAULT_KEYS;
	/** The note that the editor shows. */
	note: unknown = { path: "n.md" };

	accepted(_id: number, taken: string): void {
		this.taken.push(taken);
	}

	gone(id: number): void {
		this.gone_.push(id);
	}

	noteOf(): unknown {
		return this.note;
	}

	keys(): Keys {
		return this.chords;
	}

	look(): string {
		return "plain";
	}

	touch(): boolean {
		return false;
	}
}

export interface Bench {
	view: EditorView;
	heard: Heard;
	/** Put a ghost with these alternatives up at the cursor. */
	propose(...texts: string[]): void;
	/** As `propose`, but the stream is still open. */
	stream(...texts: string[]): void;
	type(text: string): void;
	press(key: string, modifiers?: Partial<Record<"ctrl" | "shift" | "alt" | "composing" | "repeat", boolean>>): boolean;
	ghost(): Ghost | null;
	shown(): string | null;
	doc(): string;
}

let count = 0;

/** A real EditorView with real history; `before|after` marks the cursor. */
export function bench(marked: string, extra: Extension = [], host = new Heard()): Bench {
	const at = marked.includes("|") ? marked.indexOf("|") : marked.length;
	const view = new EditorView({
		parent: document.body.appendChild(document.createElement("div")),
		state: EditorState.create({
			doc: marked.replace("|", ""),
			selection: { anchor: at },
			extensions: [
				extra,
				keymap.of([indentWithTab, ...defaultKeymap, ...historyKeymap]),
				history(),
				EditorState.allowMultipleSelections.of(true),
				ghostExtension(host),
			],
		}),
	});
	const put = (texts: string[], done: boolean) => {
		const id = ++count;
		const pos = view.state.selection.main.head;
		view.dispatch({ effects: startGhost.of({ id, pos, count: texts.length, note: host.note }) });
		view.dispatch({ effects: labelGhost.of({ id, label: "as #dream" }) });
		view.dispatch({ effects: addPieces.of(texts.map((text, index) => ({ id, index, text, done }))) });
	};
	return {
		view,
		heard: host,
		propose: (...texts) => put(texts, true),
		stream: (...texts) => put(texts, false),
		type: (text) => typeInto(view, text),
		press: (key, modifiers = {}) => press(view, key, modifiers),
		ghost: () => view.state.field(ghostField),
		shown: () => {
			const ghost = view.state.field(ghostField);
			return ghost && rest(ghost);
		},
		doc: () => view.state.doc.toString(),
	};
}

/** One transaction a character, as from a keyboard. */
export function typeInto(view: EditorView, text: string): void {
	for (const char of text) {
		const { from, to } = view.state.selection.main;
		view.dispatch({
			changes: { from, to, insert: char },
			selection: { anchor: from + char.length },
			userEvent: "input.type",
		});
	}
}

function press(view: EditorView, key: string, modifiers: Partial<Record<string, boolean>>): boolean {
	const event = new KeyboardEvent("keydown", {
		key,
		ctrlKey: modifiers["ctrl"] ?? false,
		shiftKey: modifiers["shift"] ?? false,
		altKey: modifiers["alt"] ?? false,
		repeat: modifiers["repeat"] ?? false,
		isComposing: modifiers["composing"] ?? false,
		bubbles: true,
		cancelable: true,
	});
	view.contentDOM.dispatchEvent(event);
	return event.defaultPrevented;
}
