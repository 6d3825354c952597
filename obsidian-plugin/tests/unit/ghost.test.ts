import { closeBrackets } from "@codemirror/autocomplete";
import { history, redo, undo } from "@codemirror/commands";
import { EditorSelection, EditorState } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import { afterEach, describe, expect, test } from "vitest";
import { accept, cycle, dismiss, ghostOf } from "../../src/editor/extension.ts";
import { addPieces, composed, endStream, offered, restoreGhost } from "../../src/editor/ghost.ts";
import { chordName, DEFAULT_KEYS } from "../../src/editor/keys.ts";
import { bench, Heard } from "./editor.ts";

afterEach(() => document.body.replaceChildren());

describe("a ghost", () => {
	test("is drawn at the cursor and is no part of the document", () => {
		const b = bench("I woke | again");
		b.propose("and the sea");
		expect(b.doc()).toBe("I woke  again");
		const ghost = b.view.contentDOM.querySelector(".vaultgpt-ghost");
		expect(ghost?.querySelector(".vaultgpt-ghost-text")?.textContent).toBe("and the sea");
		const note = b.view.contentDOM.querySelector(".vaultgpt-ghost-note");
		expect(note?.querySelector(".vaultgpt-ghost-voice")?.textContent).toBe("as #dream");
		expect(note?.querySelector(".vaultgpt-ghost-counter")?.textContent).toBe("");
		expect(b.view.contentDOM.textContent).toBe("I woke and the sea again" + "as #dream");
	});

	test("grows as pieces come, and takes none that belong to another", () => {
		const b = bench("I woke ");
		b.stream("and");
		const id = b.ghost()?.id ?? 0;
		b.view.dispatch({ effects: addPieces.of([{ id, index: 0, text: " the", done: false }]) });
		b.view.dispatch({ effects: addPieces.of([{ id: id - 1, index: 0, text: "XX", done: false }]) });
		expect(b.shown()).toBe("and the");
		expect(b.view.contentDOM.querySelector(".vaultgpt-ghost-text")?.textContent).toBe("and the");
	});

	test("goes when the cursor goes, and when there is more than one", () => {
		for (const selection of [
			EditorSelection.single(0),
			EditorSelection.single(2, 5),
			EditorSelection.create([EditorSelection.cursor(1), EditorSelection.cursor(7)], 1),
		]) {
			const b = bench("I woke ");
			b.propose("and");
			b.view.dispatch({ selection });
			expect(b.ghost()).toBeNull();
			expect(b.heard.gone_).toHaveLength(1);
		}
	});

	test("is told gone when its editor closes", () => {
		const b = bench("I woke ");
		b.propose("and");
		b.view.destroy();
		expect(b.heard.gone_).toHaveLength(1);
	});
});

describe("accepting", () => {
	test("all of it with Tab, verbatim, in one change", () => {
		const b = bench("I woke |!");
		b.propose("*and*\n\n- [ ] $x <b>");
		expect(b.press("Tab")).toBe(true);
		expect(b.doc()).toBe("I woke *and*\n\n- [ ] $x <b>!");
		expect(b.view.state.selection.main.head).toBe(b.doc().length - 1);
		expect(b.ghost()).toBeNull();
		expect(b.heard.taken).toEqual(["*and*\n\n- [ ] $x <b>"]);
	});

	test("by word, sentence and paragraph, keeping the rest", () => {
		const b = bench("");
		b.propose("One two. Three four.\n\nFive.");
		b.press("ArrowRight", { ctrl: true });
		expect(b.doc()).toBe("One");
		b.press("ArrowRight", { ctrl: true, shift: true });
		expect(b.doc()).toBe("One two.");
		b.press("Enter", { ctrl: true });
		expect(b.doc()).toBe("One two. Three four.");
		expect(b.shown()).toBe("\n\nFive.");
		expect(b.heard.taken.at(-1)).toBe("One two. Three four.");
	});

	test("drops alternatives that begin otherwise, and shows no more than are left", () => {
		const b = bench("");
		b.propose("red sky", "red sea", "blue");
		expect(b.view.contentDOM.querySelector(".vaultgpt-ghost-counter")?.textContent).toBe("1/3");
		accept(b.view, "word");
		expect(b.view.contentDOM.querySelector(".vaultgpt-ghost-counter")?.textContent).toBe("1/2");
		cycle(b.view, 1);
		expect(b.shown()).toBe(" sea");
		cycle(b.view, 1);
		expect(b.shown()).toBe(" sky");
	});

	test("what has arrived stays acceptable after the stream broke off", () => {
		const b = bench("");
		b.stream("half a sen");
		b.view.dispatch({ effects: endStream.of(b.ghost()?.id ?? 0) });
		b.press("Tab");
		expect(b.doc()).toBe("half a sen");
	});

	test("does nothing in a read-only editor or without a ghost", () => {
		const b = bench("x");
		expect(accept(b.view, "all")).toBe(false);
		expect(b.press("Escape")).toBe(false);
		const fixed = bench("x", EditorState.readOnly.of(true));
		fixed.propose("so");
		fixed.press("Tab");
		expect(fixed.doc()).toBe("x");
	});
});

describe("one undo removes exactly the accepted text", () => {
	test("right after fast typing", () => {
		const b = bench("");
		b.type("I woke ");
		b.propose("and the sea was in.");
		b.press("Tab");
		undo(b.view);
		expect(b.doc()).toBe("I woke ");
		redo(b.view);
		expect(b.doc()).toBe("I woke and the sea was in.");
		undo(b.view);
		undo(b.view);
		expect(b.doc()).toBe("");
	});

	test("after a slow stream, and never the words typed after it", () => {
		const b = bench("");
		b.type("I woke ");
		b.stream("and ");
		for (const word of ["the ", "sea"])
			b.view.dispatch({ effects: addPieces.of([{ id: b.ghost()?.id ?? 0, index: 0, text: word, done: false }]) });
		b.press("Tab");
		b.type(" rose");
		undo(b.view);
		expect(b.doc()).toBe("I woke and the sea");
		undo(b.view);
		expect(b.doc()).toBe("I woke ");
	});

	test("of a word gives the word back to the ghost", () => {
		const b = bench("");
		b.type("I ");
		b.propose("woke early.");
		accept(b.view, "word");
		expect(b.shown()).toBe(" early.");
		undo(b.view);
		expect(b.doc()).toBe("I ");
		expect(b.shown()).toBe("woke early.");
		redo(b.view);
		expect(b.shown()).toBe(" early.");
	});
});

describe("typing", () => {
	test("the same letters consumes the ghost, and Backspace gives them back", () => {
		const b = bench("I ");
		b.propose("woke early");
		b.type("wok");
		expect(b.shown()).toBe("e early");
		b.view.dispatch({ changes: { from: 4, to: 5 }, selection: { anchor: 4 }, userEvent: "delete.backward" });
		expect(b.shown()).toBe("ke early");
	});

	test("other letters end it, unless another alternative has them", () => {
		const b = bench("I ");
		b.propose("woke", "walked");
		b.type("wa");
		expect(b.shown()).toBe("lked");
		b.type("x");
		expect(b.ghost()).toBeNull();
		expect(b.heard.taken).toEqual([]);
	});

	test("ahead of the stream waits to see whether it agrees", () => {
		const b = bench("");
		b.stream("");
		b.type("wo");
		const id = b.ghost()?.id ?? 0;
		b.view.dispatch({ effects: addPieces.of([{ id, index: 0, text: "w", done: false }]) });
		expect(b.shown()).toBe("");
		b.view.dispatch({ effects: addPieces.of([{ id, index: 0, text: "oke", done: false }]) });
		expect(b.shown()).toBe("ke");
		const other = bench("");
		other.stream("");
		other.type("zz");
		other.view.dispatch({ effects: addPieces.of([{ id: other.ghost()?.id ?? 0, index: 0, text: "woke", done: false }]) });
		expect(other.ghost()).toBeNull();
	});

	test("all of it to the end leaves no ghost and tells so", () => {
		const b = bench("");
		b.propose("so");
		b.type("so");
		expect(b.ghost()).toBeNull();
		expect(b.heard.gone_).toHaveLength(1);
	});
});

describe("with quotes and brackets that close by themselves", () => {
	const input = (view: EditorView, text: string) => {
		const { from, to } = view.state.selection.main;
		const plain = () => view.state.update({ changes: { from, to, insert: text }, selection: { anchor: from + text.length }, userEvent: "input.type" });
		if (!view.state.facet(EditorView.inputHandler).some((handle) => handle(view, from, to, text, plain))) view.dispatch(plain());
	};

	test.each(['"', "(", "[", "'"])("a typed %s that the ghost begins with is one, and consumes it", (mark) => {
		const b = bench("He said ", closeBrackets());
		b.propose(`${mark}Go`);
		input(b.view, mark);
		expect([b.doc(), b.shown()]).toEqual([`He said ${mark}`, "Go"]);
		b.press("Tab");
		expect(b.doc()).toBe(`He said ${mark}Go`);
	});

	test("one that the ghost does not begin with is the editor's, and so is one without a ghost", () => {
		const b = bench("He said ", closeBrackets());
		b.propose("Go");
		input(b.view, "(");
		expect([b.doc(), b.ghost()]).toEqual(["He said ()", null]);
		const c = bench("He said ", closeBrackets());
		input(c.view, "(");
		expect(c.doc()).toBe("He said ()");
	});
});

describe("other edits", () => {
	test("elsewhere move the ghost with the cursor", () => {
		const b = bench("One.\n\nI woke |\n\nEnd.");
		b.propose("early");
		b.view.dispatch({ changes: { from: 0, insert: "Sync. " } });
		b.view.dispatch({ changes: { from: b.doc().length, insert: " More." } });
		expect(b.shown()).toBe("early");
		b.press("Tab");
		expect(b.doc()).toBe("Sync. One.\n\nI woke early\n\nEnd. More.");
	});

	test("at the cursor by another hand, and a reload of the file, take it down", () => {
		const b = bench("I woke |");
		b.propose("early");
		b.view.dispatch({ changes: { from: 7, insert: "late" } });
		expect(b.ghost()).toBeNull();
		const c = bench("I woke |");
		c.propose("early");
		c.view.dispatch({ changes: { from: 0, to: 7, insert: "I woke up " } });
		expect(c.ghost()).toBeNull();
	});

	test("a deletion across the cursor takes it down", () => {
		const b = bench("I wo|ke");
		b.propose("early");
		b.view.dispatch({ changes: { from: 2, to: 6 } });
		expect(b.ghost()).toBeNull();
	});
});

describe("composition", () => {
	const compose = (view: EditorView, from: number, text: string) =>
		view.dispatch({
			changes: { from, to: view.state.selection.main.head, insert: text },
			selection: { anchor: from + text.length },
			userEvent: "input.type.compose",
		});

	test("hides the ghost while it lasts and consumes it when it agrees", () => {
		const b = bench("");
		b.propose("日本語だ");
		for (const text of ["に", "にほ", "日本"]) compose(b.view, 0, text);
		expect(b.view.contentDOM.querySelector(".vaultgpt-ghost")).toBeNull();
		expect(b.ghost()).not.toBeNull();
		b.view.dispatch({ effects: composed.of(null) });
		expect(b.shown()).toBe("語だ");
	});

	test("that differs ends the ghost", () => {
		const b = bench("");
		b.propose("日本語だ");
		compose(b.view, 0, "中");
		b.view.dispatch({ effects: composed.of(null) });
		expect(b.ghost()).toBeNull();
	});

	test("keeps its keys", () => {
		const b = bench("");
		b.propose("so");
		b.press("Tab", { composing: true });
		expect(b.doc()).not.toContain("so");
	});
});

describe("keys", () => {
	test("win over a keymap of any precedence while a ghost is up, and only then", () => {
		const b = bench("- item|", [indentsFirst()]);
		b.press("Tab");
		expect(b.doc()).toBe("\t- item");
		b.propose(" more");
		b.press("Tab");
		expect(b.doc()).toBe("\t- item more");
		b.press("Tab");
		expect(b.doc()).toBe("\t\t- item more");
	});

	test("Tab before the first word has come does not indent", () => {
		const b = bench("- item|", [indentsFirst()]);
		b.stream("");
		expect(b.press("Tab")).toBe(true);
		expect(b.doc()).toBe("- item");
		expect(b.ghost()).not.toBeNull();
	});

	test("of acceptance are swallowed while nothing has come yet: the cursor and the ghost stay", () => {
		const b = bench("one |two three");
		b.stream("");
		for (const [key, shift] of [["ArrowRight", false], ["ArrowRight", true], ["Enter", false], ["ArrowDown", false], ["ArrowUp", false]] as const)
			expect(b.press(key, { ctrl: true, shift })).toBe(true);
		expect([b.doc(), b.view.state.selection.main.head]).toEqual(["one two three", 4]);
		expect(b.ghost()).not.toBeNull();
	});

	test("that are held do nothing more: no tab after the text, nothing that came unseen", () => {
		const b = bench("- item|");
		b.propose(" more");
		b.press("Tab");
		for (let n = 0; n < 5; n++) expect(b.press("Tab", { repeat: true })).toBe(true);
		expect(b.doc()).toBe("- item more");
		b.stream("");
		b.press("Tab");
		b.view.dispatch({ effects: addPieces.of([{ id: b.ghost()?.id ?? 0, index: 0, text: " unseen", done: false }]) });
		b.press("Tab", { repeat: true });
		expect(b.doc()).toBe("- item more");
		b.press("Escape");
		b.view.contentDOM.dispatchEvent(new KeyboardEvent("keyup", { key: "Tab", bubbles: true }));
		b.press("Tab");
		expect(b.doc()).toBe("  - item more");
	});

	test("take a word for as long as they are held, and then nothing of the editor's own", () => {
		const b = bench("|end of line");
		b.propose("one two ");
		b.press("ArrowRight", { ctrl: true });
		for (let n = 0; n < 4; n++) b.press("ArrowRight", { ctrl: true, repeat: true });
		expect([b.doc(), b.view.state.selection.main.head]).toEqual(["one two end of line", 8]);
	});

	test("can be other ones, or none", () => {
		const host = new Heard();
		host.chords = { ...DEFAULT_KEYS, all: "", word: "Alt-ArrowRight", dismiss: "Mod-." };
		const b = bench("- item|", [], host);
		b.propose(" one more");
		b.press("Tab");
		expect(b.doc()).toBe("  - item");
		b.press("ArrowRight", { alt: true });
		expect(b.doc()).toBe("  - item one");
		b.press("Escape");
		expect(b.ghost()).not.toBeNull();
		b.press(".", { ctrl: true });
		expect(b.ghost()).toBeNull();
		expect([chordName("Mod-Shift-ArrowRight", false), chordName("Mod--", true)]).toEqual(["Ctrl Shift →", "⌘ -"]);
	});

	test("Escape dismisses; Ctrl with up and down cycles; others pass", () => {
		const b = bench("");
		b.propose("one", "two");
		b.press("ArrowDown", { ctrl: true });
		expect(b.shown()).toBe("two");
		b.press("ArrowUp", { ctrl: true });
		expect(b.shown()).toBe("one");
		expect(b.press("F5")).toBe(false);
		expect(b.press("Tab", { alt: true })).toBe(false);
		expect(b.press("Escape")).toBe(true);
		expect(b.ghost()).toBeNull();
		expect(dismiss(b.view)).toBe(false);
	});
});

test("a dismissed ghost can be put back where the cursor is", () => {
	const b = bench("I ");
	b.propose("woke", "slept");
	const ghost = ghostOf(b.view);
	dismiss(b.view);
	if (ghost) b.view.dispatch({ effects: restoreGhost.of(ghost) });
	expect(b.shown()).toBe("woke");
	const now = b.ghost();
	expect(now && offered(now)).toEqual([0, 1]);
});

test("a keystroke without a ghost costs under a tenth of a millisecond more than without us", () => {
	const text = "word ".repeat(2_000);
	const ours = bench(text).view;
	const plain = new EditorView({ doc: text, extensions: [history()] });
	const batch = (view: EditorView) => {
		const start = performance.now();
		for (let n = 0; n < 50; n++) void view.state.update({ changes: { from: 5_000, insert: "a" }, userEvent: "input.type" }).state;
		return (performance.now() - start) / 50;
	};
	const best = (view: EditorView) => Math.min(...Array.from({ length: 30 }, () => batch(view)));
	expect(best(ours) - best(plain)).toBeLessThan(0.1);
});

function indentsFirst() {
	return EditorView.domEventHandlers({
		keydown: (event, view) => {
			if (event.key !== "Tab") return false;
			view.dispatch({ changes: { from: 0, insert: "\t" } });
			return true;
		},
	});
}
