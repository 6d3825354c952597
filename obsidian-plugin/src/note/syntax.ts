/**
 * What the editor's own parser says of a place. Lezer's names of nodes, and those of Obsidian's parser, as
 * "HyperMD-codeblock" or "hmd-frontmatter". Pure; knows nothing about what is done there.
 */
import { syntaxTree } from "@codemirror/language";
import type { EditorState } from "@codemirror/state";

/** Blocks that a cut must not begin in. */
export const BLOCK = /code|math|comment|front/i;
/** Where prose is not gone on with in the midst of a line. */
export const NO_PROSE = /code|math|comment|front|quote|head|table|html/i;

/** A line that an underline makes a heading of: no list's item, quote, row of a table, rule, or one of its own. */
const HEADING = /^(?![ \t]*(?:[-*+>|#]|\d{1,9}[.)]\s|$)).{1,400}$/;

/** Whether what stands before (-1) or after (1) `at` lies in a node of such a name. */
export function isWithin(state: EditorState, at: number, side: -1 | 1, names: RegExp): boolean {
	for (let node = syntaxTree(state).resolveInner(at, side); ; node = node.parent) {
		if (names.test(node.name)) return true;
		if (!node.parent) return false;
	}
}

/** Below the underline of `===` or `---`, where `at` ends the line of a heading above it; else `at`. */
export function belowUnderline(state: EditorState, at: number): number {
	const { doc } = state;
	const line = doc.lineAt(at);
	const [above, under] = [line.number - 1, line.number + 1].map((n) => (n < 1 || n > doc.lines ? null : doc.line(n)));
	const begins = !above || /^[-=\s]*$/.test(above.text); // a blank line, or the front matter's last
	const ends = doc.sliceString(at, line.to).trim() === "";
	if (!begins || !ends || !under || !HEADING.test(line.text) || !/^(?:=+|-+)[ \t]*$/.test(under.text)) return at;
	return isWithin(state, line.to, -1, BLOCK) ? at : under.to;
}
