/** The side view: which voice writes, this note, how well it sounds like the author, the voices kept. */
import { ItemView, type WorkspaceLeaf } from "obsidian";
import type { Core } from "../core.ts";
import type { Generation } from "../daemon/api.ts";
import { sentenceOf } from "../daemon/problem.ts";
import type { Likeness } from "../features/likeness.ts";
import { BASE_WRITES, learned, monthSentences, noteSentence, reportSentences, statusLine, verdict, wordsSentence, writer } from "../words.ts";
import { drawChart } from "./chart.ts";
import { ConfirmModal } from "./confirmModal.ts";
import { morph } from "./morph.ts";

export const VIEW_TYPE = "vaultgpt-mirror";
/** Of the report; the others are folded. */
const MOST_SENTENCES = 4;

interface Facts {
	report: Record<string, unknown> | null;
	note: readonly string[];
	months: readonly string[];
}

export class MirrorView extends ItemView {
	private asked = 0;
	private facts: Facts | null = null;
	private stale = true;
	private readonly acts = new Map<string, () => Promise<void>>();

	constructor(
		leaf: WorkspaceLeaf,
		private readonly core: Core,
		private readonly likeness: Likeness,
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
		const { model } = this.core;
		let known = model.daemon.status;
		const heard = () => {
			if (model.daemon.status === known && model.daemon.online) return this.draw(); // only a round's progress
			known = model.daemon.status;
			void this.refresh();
		};
		this.contentEl.addClass("vaultgpt-view");
		this.registerDomEvent(this.contentEl, "click", (event) => this.clicked(event));
		this.register(model.subscribe(heard));
		this.registerEvent(this.app.workspace.on("file-open", () => void this.refresh()));
		await this.refresh();
	}

	/** Shown again after it was collapsed: then it asks what it did not ask meanwhile. */
	override onResize(): void {
		if (this.stale && this.contentEl.isShown()) void this.refresh();
	}

	/** Ask and show anew; an answer that comes after a later one is dropped. */
	async refresh(): Promise<void> {
		this.stale = !this.contentEl.isShown();
		if (this.stale) return;
		const turn = ++this.asked;
		const facts = this.core.model.daemon.online ? await this.ask().catch(() => null) : null;
		if (turn !== this.asked) return;
		this.facts = facts;
		this.draw(); // as it is now, not as it was when asked
	}

	private async ask(): Promise<Facts> {
		const months = this.core.api.months().then(monthSentences, () => []);
		const [report, why, whose, told] = await Promise.all([this.core.api.report(), this.why(), this.whose(), months]);
		return { report, note: [why, whose].filter(Boolean), months: told };
	}

	private async why(): Promise<string> {
		const path = this.core.notePath();
		if (!path) return "Open a note to see whether it is used.";
		return this.core.api.note(path).then(noteSentence, sentenceOf);
	}

	private async whose(): Promise<string> {
		const path = this.core.notePath();
		return path ? this.core.api.provenance(path).then(wordsSentence, () => "") : "";
	}

	private draw(): void {
		const made = this.contentEl.cloneNode(false) as HTMLElement;
		this.acts.clear();
		this.fill(made);
		morph(this.contentEl, made);
	}

	private fill(box: HTMLElement): void {
		const { daemon } = this.core.model;
		box.createEl("h4", { text: capital(statusLine(daemon)) });
		if (!this.facts) {
			box.createEl("p", { text: daemon.problem ?? "Looking for the daemon…" });
			return;
		}
		if (writer(daemon) === "base") box.createEl("p", { text: BASE_WRITES });
		if (daemon.status?.next) box.createEl("p", { cls: "vaultgpt-view-quiet", text: `Learns next: ${daemon.status.next}` });
		for (const problem of daemon.status?.problems ?? []) box.createEl("p", { text: problem });
		this.fillButtons(box);
		section(box, "This note", this.facts.note);
		fillReport(box, reportSentences(this.facts.report));
		if (this.facts.months.length > 0) section(box, "Whose words, by month", this.facts.months);
		this.fillSurprises(box);
		section(box, "Voices", []);
		drawChart(box, daemon.generations);
		for (const generation of daemon.generations) this.fillVoice(box, generation);
	}

	private fillButtons(parent: HTMLElement): void {
		const { api, model } = this.core;
		const box = parent.createDiv({ cls: "vaultgpt-view-buttons" });
		if (model.daemon.progress) this.button(box, "stop", "Stop learning", () => api.cancelTraining());
		else this.button(box, "train", "Learn now", async () => {
			const long = await api.train();
			if (long) this.core.say(long);
		});
		const before = previous(model.daemon.generations);
		if (before) this.button(box, "back", `Back to the voice ${learned(before)}`, () => api.activate(before.id));
	}

	/** The sentences of this month's notes that are least like the author. */
	private fillSurprises(box: HTMLElement): void {
		const { surprises } = this.likeness;
		section(box, "What was unlike you this month", []);
		for (const { path, name, sentence } of surprises ?? []) {
			const line = box.createEl("p", { attr: { "data-key": `surprise ${path}` } });
			const open = () => this.app.workspace.openLinkText(path, "");
			this.button(line, `open ${path}`, name, open, `Open ${name}`);
			line.createSpan({ text: ` ${sentence}` });
		}
		if (surprises?.length === 0) box.createEl("p", { text: "No note of this month has sentences enough to compare." });
		const look = () => this.likeness.lookForSurprises();
		this.button(box, "surprises", surprises ? "Look again" : "Look for them", look, "Look for what was unlike you this month");
	}

	private fillVoice(parent: HTMLElement, generation: Generation): void {
		const { id, active, barred, heldOut } = generation;
		const name = learned(generation);
		const box = parent.createDiv({ cls: "vaultgpt-generation", attr: { "data-key": id, "data-generation": id } });
		box.toggleClass("is-active", active);
		const top = box.createDiv({ cls: "vaultgpt-generation-top" });
		const said = `${capital(name)}${active ? " (writes now)" : ""}`;
		top.createSpan({ cls: "vaultgpt-generation-name", text: said, attr: { title: id } });
		if (heldOut !== null) box.createDiv({ text: `${heldOut.toFixed(3)} bits per byte: how surprised it is by pages it never saw. Lower is better.` });
		box.createDiv({ cls: "vaultgpt-view-quiet", text: verdict(generation) });
		if (active || barred) return;
		const act = generation.promoted ? () => this.core.api.activate(id) : () => this.confirmed(generation);
		this.button(box, `use ${id}`, "Use this voice", act, `Use the voice ${name}`);
	}

	/** A voice that was kept back can be used, by who knows why it was. */
	private confirmed(generation: Generation): Promise<void> {
		const question = `This voice was kept back when it was learned. ${generation.why} It will write from now on, and what is learned next builds on it.`;
		return new Promise((resolve, reject) => {
			const agreed = () => void this.core.api.activate(generation.id).then(resolve, reject);
			new ConfirmModal(this.core.app, "Use a voice that was kept back?", question, agreed, resolve).open();
		});
	}

	private button(parent: HTMLElement, key: string, text: string, act: () => Promise<void>, label = text): void {
		this.acts.set(key, act);
		parent.createEl("button", { text, attr: { "data-key": key, "data-act": key, "aria-label": label } });
	}

	private clicked({ target }: Event): void {
		const button = (target as HTMLElement | null)?.closest<HTMLButtonElement>("button[data-act]");
		const act = this.acts.get(button?.dataset["act"] ?? "");
		if (!button || button.disabled || !act) return;
		button.disabled = true;
		act()
			.then(() => this.core.model.refresh())
			.catch((error: unknown) => this.core.complain(error))
			.finally(() => {
				button.disabled = false;
				void this.refresh();
			});
	}
}

function capital(text: string): string {
	return text.charAt(0).toUpperCase() + text.slice(1);
}

function section(box: HTMLElement, title: string, sentences: readonly string[]): void {
	box.createEl("h5", { text: title });
	for (const sentence of sentences) box.createEl("p", { text: sentence });
}

/** The first sentences, the rest folded away: the voices must not be pushed out of sight. */
function fillReport(box: HTMLElement, sentences: readonly string[]): void {
	section(box, "How well it sounds like you", sentences.slice(0, MOST_SENTENCES));
	if (sentences.length <= MOST_SENTENCES) return;
	const rest = box.createEl("details");
	rest.createEl("summary", { text: "More" });
	for (const sentence of sentences.slice(MOST_SENTENCES)) rest.createEl("p", { text: sentence });
}

/** The newest usable voice older than the active one, or of all where the base is. They come newest first. */
export function previous(generations: readonly Generation[]): Generation | null {
	const at = generations.findIndex(({ active }) => active);
	return generations.slice(at + 1).find(({ promoted, barred }) => promoted && !barred) ?? null;
}
