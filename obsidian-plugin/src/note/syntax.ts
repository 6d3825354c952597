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

/** Whether what stands before (-1) or after (1) `at` lies in a node of such a name. */
export function isWithin(state: EditorState, at: number, side: -1 | 1, names: RegExp): boolean {
	for (let node = syntaxTree(state).resolveInner(at, side); ; node = node.parent) {
		if (names.test(node.name)) return true;
		if (!node.parent) return false;
	}
}
