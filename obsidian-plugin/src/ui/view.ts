/** The side view: what is active, the history of generations, the report, why this note. */
import { ItemView, type WorkspaceLeaf } from "obsidian";
import type { Api, Generation } from "../daemon/api.ts";
import type { Daemon, Model } from "../daemon/model.ts";
import { sentenceOf } from "../daemon/problem.ts";
import { noteSentence, reportSentences, statusLine, verdict } from "../words.ts";
import { drawChart } from "./chart.ts";

export const VIEW_TYPE = "vaultgpt-mirror";
/** Of the report; the others are folded. */
const MOST_SENTENCES = 4;

export interface ViewHost {
	api: Api;
	model: Model;
	/** The path of the note last looked at; null when there is none. */
	notePath(): string | null;
	say(sentence: string): void;
}

interface Facts {
	generations: Generation[];
	report: Record<string, unknown> | null;
	note: string;
}

export class MirrorView extends ItemView {
	private shown = 0;
	private facts: Facts | null = null;
	private headline: HTMLElement | null = null;
	private learning = false;
	private unfolded = false;

	constructor(
		leaf: WorkspaceLeaf,
		private readonly host: ViewHost,
	) {
		super(leaf);
	}

	override getViewType(): string {
		return VIEW_TYPE;
	}

	override getDisplayText(): string {
		return "Mirror";
	}

	override getIcon(): string {
		return "feather";
	}

	override async onOpen(): Promise<void> {
		let known = this.host.model.daemon.status;
		const heard = (daemon: Daemon) => {
			if (daemon.status === known && daemon.online) return this.progressed(daemon);
			known = daemon.status;
			void this.refresh();
		};
		this.register(this.host.model.subscribe(heard));
		this.registerEvent(this.app.workspace.on("file-open", () => void this.refresh()));
		await this.refresh();
	}

	/** Ask and show anew; an answer that comes after a later one is dropped. */
	async refresh(): Promise<void> {
		const turn = ++this.shown;
		const { model } = this.host;
		const facts = model.daemon.online ? await this.ask().catch(() => null) : null;
		if (turn !== this.shown) return;
		this.facts = facts;
		this.draw(model.daemon, facts); // as it is now, not as it was when asked
	}

	/** Only a round's progress changed: the buttons stay, so that a click on them is not lost. */
	private progressed(daemon: Daemon): void {
		if (this.learning === (daemon.progress !== null)) this.headline?.setText(statusLine(daemon));
		else this.draw(daemon, this.facts);
	}

	private async ask(): Promise<Facts> {
		const { api } = this.host;
		const [generations, report, note] = await Promise.all([api.generations(), api.report(), this.why()]);
		return { generations, report, note };
	}

	private async why(): Promise<string> {
		const path = this.host.notePath();
		if (!path) return "Open a note to see whether it is used.";
		return this.host.api.note(path).then(noteSentence, sentenceOf);
	}

	private draw(daemon: Daemon, facts: Facts | null): void {
		const { contentEl } = this;
		contentEl.empty();
		contentEl.addClass("vaultgpt-view");
		this.learning = daemon.progress !== null;
		this.headline = contentEl.createEl("h4", { text: statusLine(daemon) });
		if (!facts) {
			contentEl.createEl("p", { text: daemon.problem ?? "Looking for the daemon…" });
			return;
		}
		if (daemon.status?.next) contentEl.createEl("p", { cls: "vaultgpt-view-quiet", text: `Next training: ${daemon.status.next}` });
		for (const problem of daemon.status?.problems ?? []) contentEl.createEl("p", { text: problem });
		this.drawButtons(daemon, facts.generations);
		this.section("This note", [facts.note]);
		this.drawReport(reportSentences(facts.report));
		this.section("Generations", []);
		drawChart(contentEl, facts.generations);
		for (const generation of facts.generations) this.drawGeneration(generation);
	}

	private section(title: string, sentences: readonly string[]): void {
		this.contentEl.createEl("h5", { text: title });
		for (const sentence of sentences) this.contentEl.createEl("p", { text: sentence });
	}

	/** The first sentences, the rest folded away: the history must not be pushed out of sight. */
	private drawReport(sentences: readonly string[]): void {
		this.section("How well it sounds like you", sentences.slice(0, MOST_SENTENCES));
		if (sentences.length <= MOST_SENTENCES) return;
		const rest = this.contentEl.createEl("details");
		rest.open = this.unfolded;
		rest.addEventListener("toggle", () => (this.unfolded = rest.open));
		rest.createEl("summary", { text: "More" });
		for (const sentence of sentences.slice(MOST_SENTENCES)) rest.createEl("p", { text: sentence });
	}

	private drawButtons(daemon: Daemon, generations: readonly Generation[]): void {
		const box = this.contentEl.createDiv({ cls: "vaultgpt-view-buttons" });
		const { api } = this.host;
		if (this.learning) this.button(box, "Stop learning", () => api.cancelTraining());
		else this.button(box, "Train now", () => api.train());
		const before = previous(generations);
		if (before) this.button(box, `Back to ${before.id}`, () => api.activate(before.id));
	}

	private drawGeneration(generation: Generation): void {
		const box = this.contentEl.createDiv({ cls: "vaultgpt-generation" });
		box.toggleClass("is-active", generation.active);
		const top = box.createDiv({ cls: "vaultgpt-generation-top" });
		top.createSpan({ cls: "vaultgpt-generation-name", text: generation.active ? `${generation.id} (active)` : generation.id });
		top.createSpan({ cls: "vaultgpt-view-quiet", text: new Date(generation.created * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "short" }) });
		if (generation.heldOut !== null) box.createDiv({ text: `${generation.heldOut.toFixed(3)} bits per byte of pages it never saw.` });
		box.createDiv({ cls: "vaultgpt-view-quiet", text: verdict(generation) });
		if (!generation.active && !generation.barred) this.button(box, "Activate", () => this.host.api.activate(generation.id));
	}

	private button(parent: HTMLElement, label: string, act: () => Promise<void>): void {
		const button = parent.createEl("button", { text: label });
		button.addEventListener("click", () => {
			button.disabled = true;
			act()
				.then(() => this.host.model.refresh())
				.catch((error: unknown) => this.host.say(sentenceOf(error)))
				.finally(() => void this.refresh());
		});
	}
}

/** The newest usable generation older than the active one. Generations come newest first. */
export function previous(generations: readonly Generation[]): Generation | null {
	const at = generations.findIndex(({ active }) => active);
	if (at < 0) return null;
	return generations.slice(at + 1).find(({ promoted, barred }) => promoted && !barred) ?? null;
}
