/** One question, with a button to agree. */
import { Modal, Setting, type App } from "obsidian";

export class ConfirmModal extends Modal {
	private decided = false;

	constructor(
		app: App,
		private readonly heading: string,
		private readonly question: string,
		private readonly agreed: () => void,
		private readonly refused: () => void = () => undefined,
	) {
		super(app);
	}

	override onOpen(): void {
		this.setTitle(this.heading);
		this.contentEl.createEl("p", { text: this.question });
		new Setting(this.contentEl)
			.addButton((button) => button.setButtonText("Cancel").onClick(() => this.close()))
			.addButton((button) =>
				button.setButtonText("Agree").setCta().onClick(() => {
					this.decided = true;
					this.close();
					this.agreed();
				}),
			);
	}

	override onClose(): void {
		this.contentEl.empty();
		if (!this.decided) this.refused();
	}
}
