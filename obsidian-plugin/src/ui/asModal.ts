/** "Continue as…": pick tags and a year among those the vault has. */
import { Modal, Setting, type App } from "obsidian";
import type { Census } from "../daemon/api.ts";
import type { Ask } from "../note/request.ts";

/** Tags offered at most; the commonest ones. */
const MOST_TAGS = 24;

export class AsModal extends Modal {
	private readonly tags: Set<string>;
	private date: string | null;

	constructor(
		app: App,
		private readonly census: Census,
		now: { tags: readonly string[]; date: string | null },
		private readonly done: (ask: Ask) => void,
	) {
		super(app);
		this.tags = new Set(now.tags);
		this.date = now.date;
	}

	override onOpen(): void {
		this.setTitle("Continue as…");
		this.showTags();
		const years = Object.keys(this.census.years).sort().reverse();
		const dates = this.date && !years.includes(this.date) ? [this.date, ...years] : years;
		new Setting(this.contentEl)
			.setName("When")
			.setDesc("Write as you wrote then.")
			.addDropdown((dropdown) => {
				dropdown.addOption("", "Any time");
				for (const date of dates) dropdown.addOption(date, `As me in ${date}`);
				dropdown.setValue(this.date ?? "").onChange((value) => (this.date = value || null));
			});
		new Setting(this.contentEl).addButton((button) =>
			button.setButtonText("Continue").setCta().onClick(() => {
				this.close();
				this.done({ tags: [...this.tags], date: this.date });
			}),
		);
	}

	override onClose(): void {
		this.contentEl.empty();
	}

	private showTags(): void {
		const byCount = Object.entries(this.census.tags).sort(([, a], [, b]) => b - a);
		const names = [...new Set([...this.tags, ...byCount.map(([name]) => name)])].slice(0, MOST_TAGS);
		const box = this.contentEl.createDiv({ cls: "vaultgpt-tags" });
		for (const name of names) {
			const button = box.createEl("button", { text: `#${name}` });
			const show = () => {
				button.toggleClass("is-chosen", this.tags.has(name));
				button.setAttribute("aria-pressed", String(this.tags.has(name)));
			};
			show();
			button.addEventListener("click", () => {
				if (!this.tags.delete(name)) this.tags.add(name);
				show();
			});
		}
		if (names.length === 0) box.setText("No note has a tag yet.");
	}
}
