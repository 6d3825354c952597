/** Rows of the settings: a key, one of the daemon's options, the token, and what is wrong with a row. */
import { Platform, requireApiVersion, SecretComponent, type Setting } from "obsidian";
import type { Core } from "../core.ts";
import type { Option } from "../daemon/api.ts";
import { chordName, chordOf, DEFAULT_KEYS, type Act } from "../editor/keys.ts";

export interface Row {
	name: string;
	desc: string;
	show: (setting: Setting) => unknown;
}

const ACTS: Record<Act, string> = {
	all: "Take all of it", word: "Take a word", sentence: "Take a sentence", paragraph: "Take a paragraph",
	next: "The next alternative", previous: "The alternative before", dismiss: "Dismiss",
};

/** Say in its own row what is wrong with a setting; "" when nothing is any more. */
export function wrong({ infoEl }: Setting, sentence: string): void {
	const line = infoEl.querySelector(".vaultgpt-wrong");
	if (line) line.textContent = sentence;
	else if (sentence) infoEl.createDiv({ cls: "vaultgpt-wrong", text: sentence, attr: { role: "alert" } });
}

/** One of the daemon's options, with its sentence, bounds and default as the daemon tells them. */
export function optionRow(option: Option, save: (setting: Setting, value: Option["value"]) => void) {
	const { key, type, value, bounds, unit, sentence } = option;
	const name = (key.split(".").pop() ?? key).replace(/_/g, " ").replace(/^./, (first) => first.toUpperCase());
	const range = typeof bounds?.low === "number" && typeof bounds.high === "number" ? `${bounds.low} to ${bounds.high}` : "";
	const note = [range, unit, `default ${plain(option.default) || "none"}`].filter(Boolean).join(", ");
	const show = (setting: Setting) => {
		if (type === "boolean") {
			setting.addToggle((toggle) => toggle.setValue(value === true).onChange((on) => save(setting, on)));
			return;
		}
		setting.addText((text) => {
			text.setValue(plain(value));
			text.inputEl.addEventListener("change", () => save(setting, parsed(type, text.getValue())));
		});
	};
	return { name, desc: `${sentence} (${note})`, show };
}

function plain(value: Option["value"]): string {
	return Array.isArray(value) ? value.join(", ") : String(value ?? "");
}

/** What was typed as a value of the option's kind; what is none is left to the daemon to refuse. */
function parsed(type: Option["type"], written: string): Option["value"] {
	if (type === "list") return written.split(",").map((part) => part.trim()).filter(Boolean);
	const number = Number(written);
	return type !== "text" && written.trim() !== "" && Number.isFinite(number) ? number : written.trim();
}

/** A key is changed by pressing it; the commands stay whatever it is. */
export function keyRow(core: Core, act: Act): Row {
	const show = (setting: Setting) => {
		const { keys } = core.settings;
		const name = (chord: string) => (chord ? chordName(chord, Platform.isMacOS) : "No key");
		const set = (chord: string) => void core.change({ keys: { ...core.settings.keys, [act]: chord } });
		setting.addButton((button) => {
			const { buttonEl } = button.setButtonText(name(keys[act]));
			buttonEl.setAttribute("aria-label", `${ACTS[act]}: ${name(keys[act])}. Press to change.`);
			let waiting = false;
			button.onClick(() => {
				waiting = true;
				button.setButtonText("Press a key…");
			});
			buttonEl.addEventListener("keydown", (event) => {
				if (!waiting || ["Control", "Shift", "Alt", "Meta"].includes(event.key)) return;
				event.preventDefault();
				event.stopPropagation();
				waiting = false;
				const chord = chordOf(event);
				const other = (Object.keys(ACTS) as Act[]).find((each) => each !== act && core.settings.keys[each] === chord);
				const plain = event.key.length === 1 && !/^(?:Mod|Alt)/.test(chord);
				wrong(setting, other ? `That key is taken: ${ACTS[other]}.` : plain ? "A letter alone is for writing." : "");
				if (!other && !plain) set(chord);
				button.setButtonText(name(other || plain ? keys[act] : chord));
			});
		});
		setting.addExtraButton((button) =>
			button.setIcon("x").setTooltip("No key").onClick(() => {
				set("");
				setting.controlEl.querySelector("button")?.replaceChildren("No key");
			}),
		);
		setting.addExtraButton((button) =>
			button.setIcon("rotate-ccw").setTooltip("As it was").onClick(() => {
				set(DEFAULT_KEYS[act]);
				setting.controlEl.querySelector("button")?.replaceChildren(name(DEFAULT_KEYS[act]));
			}),
		);
	};
	return { name: ACTS[act], desc: "", show };
}

/** The token: one of Obsidian's secrets where it has them, else a text that is hidden. */
export function secretRow({ app, device }: Core, setting: Setting, changed: () => void): void {
	if (requireApiVersion("1.11.4") && device.hasKeychain) {
		setting.addComponent((box) =>
			new SecretComponent(app, box).setValue(device.tokenName).onChange((name) => {
				device.tokenName = name;
				changed();
			}),
		);
		return;
	}
	setting.addText((text) => {
		text.inputEl.type = "password";
		text.setPlaceholder("Paste it here").setValue(device.token).onChange((value) => {
			device.token = value;
			changed();
		});
	});
}
