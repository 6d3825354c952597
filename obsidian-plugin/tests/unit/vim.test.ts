import { getCM, vim, Vim } from "@replit/codemirror-vim";
import { afterEach, expect, test } from "vitest";
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
