/** The side view with the voices that are kept, and the commands for what stands in it. */
import { Component, type WorkspaceLeaf } from "obsidian";
import type { Core } from "../core.ts";
import { isNote } from "../note/openNote.ts";
import { MirrorView, previous, VIEW_TYPE } from "../ui/view.ts";
import { learned, noteSentence } from "../words.ts";
import type { Likeness } from "./likeness.ts";

type Act = "train" | "stop-training" | "roll-back" | "why";

export class History extends Component {
	private readonly acts = new Map<Act, (path: string | null) => Promise<string>>();

	constructor(
		private readonly core: Core,
		private readonly likeness: Likeness,
	) {
		super();
	}

	override onload(): void {
		const { api, app, plugin } = this.core;
		plugin.registerView(VIEW_TYPE, (leaf: WorkspaceLeaf) => new MirrorView(leaf, this.core, this.likeness));
		plugin.addRibbonIcon("feather", "Open the mirror", () => void this.open());
		plugin.addCommand({ id: "open-history", name: "Open the mirror", callback: () => void this.open() });
		this.act("train", "Learn now", () => api.train().then((long) => (long ? `Learning has begun. ${long}` : "Learning has begun.")));
		this.act("stop-training", "Stop learning", () => api.cancelTraining().then(() => "Learning was stopped."));
		this.act("roll-back", "Go back to the voice before", () => this.back());
		this.act("why", "Why is this note used or not?", (path) => this.why(path));
		this.registerEvent(
			app.workspace.on("file-menu", (menu, file) => {
				if (!isNote(file.path)) return;
				menu.addItem((item) => item.setTitle("Why is this note used or not?").setIcon("feather").onClick(() => this.run("why", file.path)));
			}),
		);
	}

	/** What the command of this name does. */
	run(id: Act, path = this.core.notePath()): void {
		const act = this.acts.get(id) ?? (() => Promise.resolve(""));
		act(path).then((sentence) => this.core.say(sentence), (error: unknown) => this.core.complain(error));
	}

	async open(): Promise<void> {
		const { workspace } = this.core.app;
		const leaf = workspace.getLeavesOfType(VIEW_TYPE)[0] ?? workspace.getRightLeaf(false);
		if (!leaf) return;
		await leaf.setViewState({ type: VIEW_TYPE, active: true });
		await workspace.revealLeaf(leaf);
	}

	/** A command that asks the daemon, and says what came of it. */
	private act(id: Act, name: string, run: (path: string | null) => Promise<string>): void {
		this.acts.set(id, run);
		this.core.plugin.addCommand({ id, name, callback: () => this.run(id) });
	}

	private async back(): Promise<string> {
		const before = previous(await this.core.api.generations());
		if (!before) return "There is no earlier voice to go back to.";
		await this.core.api.activate(before.id);
		return `The voice ${learned(before)} writes now.`;
	}

	private async why(path: string | null): Promise<string> {
		return path ? this.core.api.note(path).then(noteSentence) : "Open a note first.";
	}
}
