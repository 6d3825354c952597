/** Rows of the settings: one of the daemon's options, the token, and what is wrong with a row. */
import { requireApiVersion, SecretComponent, type Setting } from "obsidian";
import type { Core } from "../core.ts";
import type { Option } from "../daemon/api.ts";

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
