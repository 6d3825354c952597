// Editor states whose text was parsed to its end: by Lezer, and by a stand-in that names what Obsidian's
// parser names, token by token and line by line, without nodes around them.
import { markdown, markdownLanguage } from "@codemirror/lang-markdown";
import { ensureSyntaxTree, LanguageSupport, StreamLanguage, type StringStream } from "@codemirror/language";
import { EditorState } from "@codemirror/state";
import { tags } from "@lezer/highlight";

const PARSED_MS = 20_000;

interface Inside {
	/** What the block is called, and what ends it. */
	name: string;
	end: RegExp;
	first: boolean;
}

const BLOCKS: readonly [RegExp, string, (opening: string) => RegExp][] = [
	[/^(`{3,}|~{3,})/, "hmd-codeblock", (mark) => new RegExp(`^${mark}${mark[0]}*\\s*$`)],
	[/^\$\$/, "math", () => /\$\$\s*$/],
	[/^%%/, "comment", () => /%%\s*$/],
];

function token(stream: StringStream, state: { inside: Inside | null; begun: boolean }): string | null {
	const line = stream.string;
	if (!state.begun && line === "---") state.inside = { name: "hmd-frontmatter", end: /^---\s*$/, first: true };
	state.begun = true;
	stream.skipToEnd();
	for (const [opening, name, end] of state.inside ? [] : BLOCKS) {
		const mark = opening.exec(line)?.[0];
		if (mark) state.inside = { name, end: end(mark), first: line.trim() === mark || name === "hmd-codeblock" };
	}
	const { inside } = state;
	if (!inside) return line.startsWith("#") ? "HyperMD-header" : line.startsWith(">") ? "HyperMD-quote" : null;
	if (!inside.first && inside.end.test(line)) state.inside = null;
	else if (inside.first) inside.first = false;
	return inside.name;
}

const NAMES = ["hmd-codeblock", "math", "comment", "hmd-frontmatter", "HyperMD-header", "HyperMD-quote"];
const likeObsidian = new LanguageSupport(
	StreamLanguage.define({
		startState: () => ({ inside: null as Inside | null, begun: false }),
		token,
		tokenTable: Object.fromEntries(NAMES.map((name) => [name, tags.content])),
	}),
);

export type Parser = "Lezer's" | "one like Obsidian's";
export const PARSERS: readonly Parser[] = ["Lezer's", "one like Obsidian's"];

export function parsed(doc: string, parser: Parser = "Lezer's"): EditorState {
	const extensions = parser === "Lezer's" ? markdown({ base: markdownLanguage }) : likeObsidian;
	const state = EditorState.create({ doc, extensions });
	if (!ensureSyntaxTree(state, state.doc.length, PARSED_MS)) throw new Error("not parsed in time");
	return state.update({}).state; // only a transaction takes the tree into a state
}
