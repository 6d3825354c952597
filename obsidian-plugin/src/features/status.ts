/** The status bar: what the daemon does, and in whose voice the open note would be written on. */
import { Component, MarkdownView, Menu } from "obsidian";
import type { Core } from "../core.ts";
import { statusLine, statusStory } from "../words.ts";
import type { History } from "./history.ts";
import { viewOf, type Writing } from "./writing.ts";

export class Status extends Component {
	private bar: HTMLElement | null = null;
	private asked = 0;
	private voice: { path: string | null; sentence: string } = { path: null, sentence: "" };

	constructor(
		private readonly core: Core,
		private readonly writing: Writing,
		private readonly history: History,
	) {
		super();
	}

	override onload(): void {
		const { core } = this;
		this.register(core.model.subscribe(() => this.show()));
		this.register(core.model.onReached(() => void this.look()));
		this.register(core.onSettings(() => this.show()));
		this.registerEvent(core.app.workspace.on("file-open", () => void this.look()));
		core.app.workspace.onLayoutReady(() => this.show());
	}

	override onunload(): void {
		this.bar?.remove();
		this.bar = null;
	}

	private show(): void {
		const { core } = this;
		if (!core.settings.statusBar) {
			this.bar?.remove();
			this.bar = null;
			return;
		}
		this.bar ??= this.make();
		const { daemon } = core.model;
		const { path, sentence } = this.voice;
		this.bar.setText(statusLine(daemon));
		this.bar.toggleClass("is-offline", !daemon.online);
		this.bar.setAttribute("data-generation", (daemon.online && daemon.status?.active) || "");
		this.bar.setAttribute("aria-label", statusStory(daemon, path === core.notePath() ? sentence : ""));
	}

	/** Ask how the open note reads at its cursor; no model is woken for it. */
	private async look(): Promise<void> {
		const { core } = this;
		this.show();
		const note = core.app.workspace.getActiveViewOfType(MarkdownView);
		const view = note && viewOf(note.editor);
		if (!view || !core.settings.statusBar || !core.model.daemon.online) return;
		const path = core.notePath();
		const { vaultgpt } = this.writing.body(view, view.state.selection.main.head, {});
		const turn = ++this.asked;
		const label = await core.api.label(vaultgpt).catch(() => null);
		if (turn !== this.asked) return; // the answer for a note that was open before
		this.voice = { path, sentence: label ? [this.writing.voice(label), label.warning].filter(Boolean).join("\n") : "" };
		this.show();
	}

	private make(): HTMLElement {
		const bar = this.core.plugin.addStatusBarItem();
		bar.addClass("vaultgpt-status", "mod-clickable");
		bar.setAttribute("data-tooltip-position", "top");
		this.registerDomEvent(bar, "click", (event) => this.menu().showAtMouseEvent(event));
		this.registerDomEvent(bar, "mouseenter", () => void this.look());
		return bar;
	}

	private menu(): Menu {
		const { core, history } = this;
		const menu = new Menu();
		const item = (title: string, icon: string, run: () => void) => menu.addItem((entry) => entry.setTitle(title).setIcon(icon).onClick(run));
		item("Open the mirror", "feather", () => void history.open());
		if (!core.model.daemon.online) return item("Look for the daemon again", "refresh-cw", () => core.reconnect());
		if (core.model.daemon.progress) item("Stop learning", "square", () => history.run("stop-training"));
		else item("Learn now", "graduation-cap", () => history.run("train"));
		return item("Why is this note used or not?", "help-circle", () => history.run("why"));
	}
}
