/**
 * The note's continuations as a tree: shown again, gone on from at any word, more of the same, kept as a
 * note of its own. Nothing of it is written into the vault unless it is asked for.
 */
import type { EditorView } from "@codemirror/view";
import { Component, MarkdownView, normalizePath, type WorkspaceLeaf } from "obsidian";
import type { Core } from "../core.ts";
import { placeOf, type Branch } from "../note/branches.ts";
import { BRANCHES_TYPE, BranchesView, type BranchesHost, type Deed } from "../ui/branchesView.ts";
import { fileOf, viewOf, type Writing } from "./writing.ts";

export class Branching extends Component implements BranchesHost {
	constructor(
		private readonly core: Core,
		private readonly writing: Writing,
	) {
		super();
	}

	override onload(): void {
		const { plugin } = this.core;
		plugin.registerView(BRANCHES_TYPE, (leaf: WorkspaceLeaf) => new BranchesView(leaf, this));
		plugin.addCommand({ id: "branches", name: "Show the branches of this note", icon: "git-branch", callback: () => void this.open() });
	}

	onChange(listener: () => void): () => void {
		return this.writing.session.branches.onChange(listener);
	}

	branches(): Branch[] {
		const file = this.core.app.workspace.getActiveFile();
		const view = this.editor();
		const note = view ? fileOf(view.state) : file;
		return note ? this.writing.session.branches.of(note) : [];
	}

	act(deed: Deed, branch: Branch, begun: string): void {
		if (deed === "keep") void this.keep(branch, begun).catch((error: unknown) => this.core.complain(error));
		else this.write(deed, branch, begun);
	}

	private write(deed: Exclude<Deed, "keep">, branch: Branch, begun: string): void {
		const view = this.editor();
		const { head } = view?.state.selection.main ?? { head: 0 };
		const at = view && placeOf(branch, view.state.doc.toString(), head);
		if (!view || at === null) return void this.core.say("The place where that was proposed is not in the open note any more.");
		if (view.state.readOnly) return void this.core.say("This note can't be changed, so nothing is written in it.");
		view.focus();
		view.dispatch({ selection: { anchor: at }, scrollIntoView: true });
		if (deed === "show") this.writing.session.show(view, at, branch);
		else void this.writing.writeFrom(view, at, deed === "more" ? "" : begun).catch((error: unknown) => this.core.complain(error));
	}

	/** A note of its own, which says of itself that it is not to be learned from. */
	private async keep({ before }: Branch, begun: string): Promise<void> {
		const { vault, workspace } = this.core.app;
		const folder = workspace.getActiveFile()?.parent?.path ?? "";
		const stamp = new Date().toLocaleString("sv-SE").replace(/:/g, ".");
		const path = normalizePath(`${folder}/Mirror ${stamp}.md`);
		const file = await vault.create(path, `---\nvaultgpt: false\n---\n${before.trimStart()}${begun}\n`);
		this.core.say(`Kept as ${file.basename}.`);
	}

	private async open(): Promise<void> {
		const { workspace } = this.core.app;
		const leaf = workspace.getLeavesOfType(BRANCHES_TYPE)[0] ?? workspace.getRightLeaf(false);
		if (!leaf) return;
		await leaf.setViewState({ type: BRANCHES_TYPE, active: true });
		await workspace.revealLeaf(leaf);
	}

	/** The editor that was written in last, though the pane has the focus. */
	private editor(): EditorView | null {
		const { workspace } = this.core.app;
		const active = workspace.getActiveViewOfType(MarkdownView) ?? workspace.getMostRecentLeaf()?.view;
		return active instanceof MarkdownView ? viewOf(active.editor) : null;
	}
}
