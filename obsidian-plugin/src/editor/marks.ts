/**
 * Stretches of a note that are marked with a class and a tooltip until they are edited. Nothing of it
 * is in the document. Knows nothing about what the marks mean.
 */
import { StateEffect, StateField, type Extension, type StateEffectType } from "@codemirror/state";
import { Decoration, EditorView, type DecorationSet } from "@codemirror/view";

export interface Mark {
	readonly from: number;
	readonly to: number;
	readonly cls: string;
	readonly title: string;
}

export interface Marking {
	readonly extension: Extension;
	/** All its marks in an editor from now on. */
	readonly set: StateEffectType<readonly Mark[]>;
	isIn(view: EditorView): boolean;
}

/** Marks of one kind, apart from those of another. */
export function marking(): Marking {
	const set = StateEffect.define<readonly Mark[]>();
	const field = StateField.define<DecorationSet>({
		create: () => Decoration.none,
		update(before, tr) {
			let marks = before;
			tr.changes.iterChanges((from, to) => {
				marks = marks.update({ filter: (start, end) => end < from || start > to });
			});
			marks = marks.map(tr.changes);
			for (const effect of tr.effects) if (effect.is(set)) marks = made(effect.value);
			return marks;
		},
		provide: (own) => EditorView.decorations.from(own),
	});
	return { extension: field, set, isIn: (view) => (view.state.field(field, false)?.size ?? 0) > 0 };
}

function made(wanted: readonly Mark[]): DecorationSet {
	const ranges = wanted.map(({ from, to, cls, title }) => Decoration.mark({ class: cls, attributes: { title } }).range(from, to));
	return Decoration.set(ranges, true);
}
