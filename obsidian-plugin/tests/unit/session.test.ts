import { afterEach, expect, test, vi } from "vitest";
import { brokenOff, notRunning } from "../../src/daemon/problem.ts";
import { accept, dismiss } from "../../src/editor/extension.ts";
import { setup } from "./sessions.ts";

afterEach(() => document.body.replaceChildren());

test("pieces become the ghost; what is accepted is kept with its note", async () => {
	const s = setup("I ");
	const over = s.start();
	s.source.give("woke ");
	s.source.give("up");
	s.source.give(null);
	await over;
	expect(s.shown()).toBe("woke up");
	expect(s.ghost()?.label).toBe("as #dream");
	accept(s.view, "word");
	accept(s.view, "all");
	expect(s.doc()).toBe("I woke up");
	expect(s.source.kept).toEqual([["woke", "n.md"], ["woke up", "n.md"]]);
});

test("Escape stops the daemon at once", async () => {
	const s = setup("I ");
	const over = s.start();
	s.source.give("woke");
	await vi.waitFor(() => expect(s.shown()).toBe("woke"));
	s.press("Escape");
	expect(s.source.aborted).toBe(1);
	await over;
	expect(s.ghost()).toBeNull();
	expect(s.source.said).toEqual([]);
	expect(s.session.restore(s.view)).toBe(true);
	expect(s.shown()).toBe("woke");
});

test("a daemon that dies leaves what has arrived, and says so", async () => {
	const s = setup("I ");
	const over = s.start();
	s.source.give("woke");
	s.source.give(brokenOff());
	await over;
	expect(s.shown()).toBe("woke");
	expect(s.source.said[0]).toContain("can still be taken");
	s.press("Tab");
	expect(s.doc()).toBe("I woke");
});

test("a daemon that is not there leaves no ghost, one sentence and the command", async () => {
	const s = setup("I ");
	const over = s.start();
	s.source.give(notRunning("/v"));
	await over;
	expect(s.ghost()).toBeNull();
	expect(s.source.said).toEqual(['The daemon is not running: start it with vaultgpt serve "/v" in a terminal.']);
});

test("a second continuation stops the first, whose late pieces go nowhere", async () => {
	const s = setup("I ");
	const first = s.start();
	s.source.give("old");
	await vi.waitFor(() => expect(s.shown()).toBe("old"));
	const second = s.start();
	await first;
	expect(s.source.aborted).toBe(1);
	expect(s.shown()).toBe("");
	s.source.give("new");
	await vi.waitFor(() => expect(s.shown()).toBe("new"));
	s.source.give(null);
	await second;
});

test("stop keeps what has come; a selection is the prompt's end; closing stops all", async () => {
	const s = setup("I woke");
	s.view.dispatch({ selection: { anchor: 0, head: 6 } });
	const over = s.start();
	s.source.give(" up");
	await vi.waitFor(() => expect(s.shown()).toBe(" up"));
	expect(s.view.state.selection.main.head).toBe(6);
	expect(s.session.stop(s.view)).toBe(true);
	await over;
	expect(s.shown()).toBe(" up");
	expect(s.session.stop(s.view)).toBe(false);
	dismiss(s.view);
	const again = s.start();
	s.session.close();
	await again;
	expect(s.source.aborted).toBe(2);
});

test("an old ghost is not put back where the text has changed", async () => {
	const s = setup("I ");
	const over = s.start();
	s.source.give("woke");
	s.source.give(null);
	await over;
	s.press("Escape");
	s.type("x");
	expect(s.session.restore(s.view)).toBe(false);
});

test("nothing at all is said to be nothing", async () => {
	const s = setup("I ");
	const over = s.start();
	s.source.give(null);
	await over;
	expect(s.ghost()).toBeNull();
	expect(s.source.said).toEqual(["Nothing came to mind here."]);
});

test("what is taken after a rename is told of the note under its new name", async () => {
	const s = setup("I ");
	const over = s.start();
	s.source.give("woke");
	s.source.give(null);
	await over;
	s.file.path = "renamed.md";
	s.press("Tab");
	expect(s.source.kept).toEqual([["woke", "renamed.md"]]);
});

test("in an editor that shows another note, nothing of the first is shown, taken or reported", async () => {
	const s = setup("I ");
	const over = s.start();
	s.source.give("woke");
	await vi.waitFor(() => expect(s.shown()).toBe("woke"));
	s.host.note = { path: "other.md" };
	s.press("Tab");
	expect(s.doc()).toBe("I ");
	s.view.dispatch({ changes: { from: 0, to: 2, insert: "Other" } });
	expect(s.ghost()).toBeNull();
	expect(s.source.aborted).toBe(1);
	await over;
	expect(s.source.kept).toEqual([]);
});

test("it is read aloud once, when it is whole, however many pieces it comes in", async () => {
	const s = setup("I ");
	const live = () => s.view.dom.querySelector("[aria-live]")?.textContent;
	const over = s.start();
	s.source.give("woke ");
	await vi.waitFor(() => expect(s.shown()).toBe("woke "));
	expect(live()).toBe("");
	s.source.give("up");
	s.source.give(null);
	await over;
	expect(live()).toBe("woke up");
	s.press("ArrowRight", { ctrl: true });
	expect(live()).toBe("woke up");
});

test("nothing is asked for a note that was closed, nor after the plugin was turned off", async () => {
	for (const over of ["closed", "off"] as const) {
		const s = setup("I ");
		if (over === "closed") s.view.dom.remove();
		else s.session.close();
		await s.start();
		expect(s.ghost()).toBeNull();
		expect(s.session.lastRequest).toBeNull();
	}
});

test("where the label says that the text stands further on, ghost and cursor go there once", async () => {
	const s = setup("A title|\n===\n\nMore.");
	s.source.skip = 4;
	const over = s.start();
	s.source.give("\n\nIt rained");
	s.source.give(" all day.");
	s.source.give(null);
	await over;
	expect(s.shown()).toBe("\n\nIt rained all day.");
	expect(s.view.state.selection.main.head).toBe("A title\n===".length);
	accept(s.view, "all");
	expect(s.doc()).toBe("A title\n===\n\nIt rained all day.\n\nMore.");
	expect(s.source.kept).toEqual([["\n\nIt rained all day.", "n.md"]]);
	expect(s.session.branches.of(s.file)[0]?.before).toBe("A title\n===");
});

test("and where the note was changed before that was known, there is no ghost", async () => {
	const s = setup("A title|\n===\n\nMore.");
	s.source.skip = 4;
	const over = s.start();
	s.type("s");
	expect(s.ghost()).not.toBeNull();
	s.source.give("\n\nIt rained.");
	await over;
	expect(s.ghost()).toBeNull();
	expect([s.doc(), s.source.aborted]).toEqual(["A titles\n===\n\nMore.", 1]);
});
