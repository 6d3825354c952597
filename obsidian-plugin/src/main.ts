/** The plugin: its features, loaded together and taken down together. */
import { Plugin } from "obsidian";
import { Core } from "./core.ts";
import { Branching } from "./features/branching.ts";
import { History } from "./features/history.ts";
import { Likeness } from "./features/likeness.ts";
import { Preferences } from "./features/preferences.ts";
import { Reading } from "./features/reading.ts";
import { Status } from "./features/status.ts";
import { Typing } from "./features/typing.ts";
import { Whose } from "./features/whose.ts";
import { Writing } from "./features/writing.ts";

export default class VaultGPTPlugin extends Plugin {
	readonly core = new Core(this);
	readonly writing = new Writing(this.core);

	override async onload(): Promise<void> {
		const { core, writing } = this;
		await core.readSettings();
		const likeness = new Likeness(core);
		const history = new History(core, likeness);
		const features = [writing, new Reading(core, writing), new Typing(core, writing), likeness, new Branching(core, writing), new Whose(core), history, new Status(core, writing, history), new Preferences(core)];
		for (const feature of [core, ...features]) this.addChild(feature);
	}

	/** Another device, or a sync service, has written the settings. */
	override onExternalSettingsChange(): Promise<void> {
		return this.core.readSettings();
	}
}
