import { getCM, vim, Vim } from "@replit/codemirror-vim";
import { afterEach, expect, test } from "vitest";
import { accept, writingPoint } from "../../src/editor/extension.ts";
import { addPieces, startGhost } from "../../src/editor/ghost.ts";
import { bench } from "./editor.ts";

afterEach(() => document.body.replaceChildren());

test("in Vim, Escape dismisses and still leaves insert mode; normal keys are Vim's", () => {
	const b = bench("one |two", vim());
	const cm = getCM(b.view);
	if (!cm) throw new Error("no Vim");
	b.press("i");
	expect(cm.state.vim?.insertMode).toBe(true);
	b.propose("more ");
	b.press("Escape");
	expect(b.ghost()).toBeNull();
	expect(cm.state.vim?.insertMode).toBe(false);
	b.press("0");
	expect(b.view.state.selection.main.head).toBe(0);
	Vim.handleKey(cm, "i", "user");
	b.propose("so ");
	b.press("Tab");
	expect(b.doc()).toBe("so one two");
	expect(cm.state.vim?.insertMode).toBe(true);
});

test("in Vim's normal mode a continuation at a line's end begins after its last character", () => {
	const b = bench("The sea was|\nnext", vim());
	b.press("$");
	expect(b.view.state.selection.main.head).toBe("The sea wa".length);
	const at = writingPoint(b.view);
	expect(at).toBe("The sea was".length);
	b.view.dispatch({ selection: { anchor: at }, effects: startGhost.of({ id: 900, pos: at, count: 1, note: b.heard.note }) });
	b.view.dispatch({ effects: addPieces.of([{ id: 900, index: 0, text: " in.", done: true }]) });
	expect(b.shown()).toBe(" in.");
	accept(b.view, "all");
	expect(b.doc()).toBe("The sea was in.\nnext");
	b.press("0");
	expect(writingPoint(b.view)).toBe(0);
	b.press("i");
	expect(writingPoint(b.view)).toBe(b.view.state.selection.main.head);
});

test("in Vim's normal mode a last character of two halves, or a line of none, is no trouble", () => {
	const face = bench("So 😀|\nnext", vim());
	face.press("$");
	expect(writingPoint(face.view)).toBe("So 😀".length);
	const empty = bench("|\nnext", vim());
	empty.press("$");
	expect(writingPoint(empty.view)).toBe(0);
});
