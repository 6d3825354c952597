// A stand-in for Live Preview: markup hidden by replacing decorations unless the cursor touches it,
// embeds and rules as block widgets, atomic ranges, and the keys of lists. It is not Obsidian's own.
import * as commands from "@codemirror/commands";
import { markdownKeymap } from "@codemirror/lang-markdown";
import { EditorState, Prec, StateField, type Extension, type Range } from "@codemirror/state";
import { Decoration, EditorView, keymap, ViewPlugin, WidgetType, type DecorationSet, type ViewUpdate } from "@codemirror/view";

class Drawn extends WidgetType {
	constructor(
		readonly name: string,
		readonly tag: "div" | "span",
		readonly text = "",
	) {
		super();
	}

	override eq(other: Drawn): boolean {
		return this.name === other.name && this.text === other.text;
	}

	override toDOM(): HTMLElement {
		const element = document.createElement(this.tag);
		element.className = this.name;
		element.textContent = this.text;
		return element;
	}
}

const touched = (state: EditorState, from: number, to: number) =>
	state.selection.ranges.some((range) => range.from <= to && range.to >= from);

/** What is hidden on one line: the marks of bold and headings, a link's address; a list's dash is drawn. */
function hidden(state: EditorState, from: number, to: number): Range<Decoration>[] {
	const found: Range<Decoration>[] = [];
	const text = state.sliceDoc(from, to);
	const hide = (at: number, length: number) => found.push(Decoration.replace({}).range(from + at, from + at + length));
	const dash = /^\s*[-*] /.exec(text);
	if (dash) found.push(Decoration.replace({ widget: new Drawn("lp-bullet", "span", "• ") }).range(from, from + dash[0].length));
	const hashes = /^#{1,6} /.exec(text);
	if (hashes && !touched(state, from, to)) hide(0, hashes[0].length);
	for (const { index, 0: whole } of text.matchAll(/\*\*[^*]+\*\*/g)) {
		if (touched(state, from + index, from + index + whole.length)) continue;
		hide(index, 2);
		hide(index + whole.length - 2, 2);
	}
	for (const { index, 0: whole, 1: name = "" } of text.matchAll(/\[([^\]]+)\]\([^)]*\)/g)) {
		if (touched(state, from + index, from + index + whole.length)) continue;
		hide(index, 1);
		hide(index + 1 + name.length, whole.length - 1 - name.length);
	}
	return found;
}

const inline = ViewPlugin.fromClass(
	class {
		decorations: DecorationSet;

		constructor(view: EditorView) {
			this.decorations = this.made(view);
		}

		update(update: ViewUpdate): void {
			if (update.docChanged || update.selectionSet || update.viewportChanged) this.decorations = this.made(update.view);
		}

		made(view: EditorView): DecorationSet {
			const found = view.visibleRanges.flatMap(({ from, to }) => {
				const first = view.state.doc.lineAt(from).number;
				const last = view.state.doc.lineAt(to).number;
				return Array.from({ length: last - first + 1 }, (_, n) => view.state.doc.line(first + n)).flatMap((line) => hidden(view.state, line.from, line.to));
			});
			return Decoration.set(found, true);
		}
	},
	{
		decorations: (plugin) => plugin.decorations,
		provide: (plugin) => EditorView.atomicRanges.of((view) => view.plugin(plugin)?.decorations ?? Decoration.none),
	},
);

/** An embed or a rule becomes a block; while the cursor is in an embed, it is drawn below its source. */
function blocks(state: EditorState): DecorationSet {
	const found: Range<Decoration>[] = [];
	for (let number = 1; number <= state.doc.lines; number++) {
		const { from, to, text } = state.doc.line(number);
		if (!/^(?:!\[\[[^\]]+\]\]|---)$/.test(text)) continue;
		const widget = new Drawn("lp-block", "div", text);
		if (!touched(state, from, to)) found.push(Decoration.replace({ widget, block: true }).range(from, to));
		else if (text !== "---") found.push(Decoration.widget({ widget, block: true, side: 1 }).range(to));
	}
	return Decoration.set(found, true);
}

const block = StateField.define<DecorationSet>({
	create: blocks,
	update: (value, tr) => (tr.docChanged || tr.selection ? blocks(tr.state) : value),
	provide: (field) => [EditorView.decorations.from(field), EditorView.atomicRanges.of((view) => view.state.field(field))],
});

export function livePreview(): Extension {
	const tab = { key: "Tab", run: commands.indentMore, shift: commands.indentLess };
	return [inline, block, Prec.highest(keymap.of([tab])), Prec.high(keymap.of(markdownKeymap))];
}
