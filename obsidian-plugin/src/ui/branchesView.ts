/** The pane with a note's continuations as a tree; every act has a key. Knows nothing about editors. */
import { ItemView, type WorkspaceLeaf } from "obsidian";
import { depthOf, firstWords, wordsIn, type Branch } from "../note/branches.ts";
import { morph } from "./morph.ts";

export const BRANCHES_TYPE = "vaultgpt-branches";

export type Deed = "show" | "from here" | "more" | "keep";

export interface BranchesHost {
	/** Those of the open note, each before its children. */
	branches(): Branch[];
	/** `begun` is the part of the branch up to the chosen word. */
	act(deed: Deed, branch: Branch, begun: string): void;
	/** Hear of every change. */
	onChange(listener: () => void): () => void;
}

const DEEDS: Record<Deed, [key: string, name: string]> = {
	show: ["Enter", "Show it again"],
	"from here": ["f", "From here again"],
	more: ["m", "More like this"],
	keep: ["k", "Keep as a note"],
};

export class BranchesView extends ItemView {
	private chosen = "";
	/** Words of the chosen branch that are kept by "from here". */
	private words = Infinity;

	constructor(
		leaf: WorkspaceLeaf,
		private readonly host: BranchesHost,
	) {
		super(leaf);
	}

	override getViewType(): string {
		return BRANCHES_TYPE;
	}

	override getDisplayText(): string {
		return "Branches";
	}

	override getIcon(): string {
		return "git-branch";
	}

	override async onOpen(): Promise<void> {
		this.contentEl.addClass("vaultgpt-view");
		this.registerDomEvent(this.contentEl, "keydown", (event) => this.pressed(event));
		this.registerDomEvent(this.contentEl, "click", (event) => this.clicked(event));
		this.register(this.host.onChange(() => this.draw()));
		this.registerEvent(this.app.workspace.on("file-open", () => this.draw()));
		this.draw();
	}

	private draw(): void {
		const made = this.contentEl.cloneNode(false) as HTMLElement;
		const all = this.host.branches();
		made.createEl("h4", { text: "Branches" });
		if (all.length === 0) made.createEl("p", { text: "What the mirror proposes in this note is kept here until Obsidian is closed." });
		else {
			const keys = "↑ ↓ choose, ← → end it at a word, Enter show, f from here again, m more like this, k keep as a note.";
			made.createEl("p", { cls: "vaultgpt-view-quiet", text: keys });
		}
		if (!all.some(({ id }) => id === this.chosen)) this.choose(all.at(-1));
		const tree = made.createDiv({ cls: "vaultgpt-branches", attr: { role: "tree", "aria-label": "Continuations of this note" } });
		for (const branch of all) this.drawBranch(tree, branch);
		morph(this.contentEl, made);
	}

	private drawBranch(tree: HTMLElement, branch: Branch): void {
		const chosen = branch.id === this.chosen;
		const attr = { role: "treeitem", "data-key": branch.id, tabindex: chosen ? "0" : "-1", "aria-selected": String(chosen), "aria-level": String(1 + depthOf(branch)) };
		const item = tree.createDiv({ cls: `vaultgpt-branch vaultgpt-branch-${Math.min(depthOf(branch), 6)}`, attr });
		item.toggleClass("is-taken", branch.taken !== "");
		item.createSpan({ cls: "vaultgpt-branch-mark", text: branch.taken === "" ? "" : branch.taken === branch.text ? "✓ taken " : "✓ in part " });
		const begun = chosen ? firstWords(branch.text, this.words) : branch.text;
		item.createSpan({ cls: "vaultgpt-branch-begun", text: begun });
		item.createSpan({ cls: "vaultgpt-view-quiet", text: branch.text.slice(begun.length) });
		if (!chosen) return;
		const box = item.createDiv({ cls: "vaultgpt-view-buttons" });
		for (const [deed, [, name]] of Object.entries(DEEDS)) box.createEl("button", { text: name, attr: { "data-deed": deed, tabindex: "-1" } });
	}

	private choose(branch: Branch | undefined): void {
		this.chosen = branch?.id ?? "";
		this.words = Infinity;
	}

	private pressed(event: KeyboardEvent): void {
		const all = this.host.branches();
		const at = all.findIndex(({ id }) => id === this.chosen);
		const branch = all[at];
		if (!branch || event.ctrlKey || event.metaKey || event.altKey) return;
		const deed = (Object.keys(DEEDS) as Deed[]).find((each) => DEEDS[each][0] === event.key);
		const steps: Record<string, number> = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 };
		const to = all[steps[event.key] ?? -1];
		const turn = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
		if (deed) this.host.act(deed, branch, firstWords(branch.text, this.words));
		else if (turn) this.words = Math.max(1, Math.min(wordsIn(branch.text), Math.min(this.words, wordsIn(branch.text)) + turn));
		else if (to) this.choose(to);
		else return;
		event.preventDefault();
		this.draw();
		if (!deed) this.contentEl.querySelector<HTMLElement>('[aria-selected="true"]')?.focus();
	}

	private clicked({ target }: Event): void {
		const element = target as HTMLElement | null;
		const id = element?.closest<HTMLElement>("[data-key]")?.dataset["key"] ?? "";
		const branch = this.host.branches().find((each) => each.id === id);
		const deed = element?.closest<HTMLElement>("[data-deed]")?.dataset["deed"] as Deed | undefined;
		if (branch && deed) this.host.act(deed, branch, firstWords(branch.text, this.words));
		else if (branch && id !== this.chosen) this.choose(branch);
		this.draw();
	}
}
