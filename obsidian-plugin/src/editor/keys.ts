/** The keys that mean something while a ghost is up, and only then. Pure functions of values. */
import type { Unit } from "./units.ts";

export type Act = Unit | "next" | "previous" | "dismiss";
/** A chord as "Mod-Shift-ArrowRight" (Mod is Ctrl or Cmd) for each act; "" turns its key off. */
export type Keys = Readonly<Record<Act, string>>;

export const DEFAULT_KEYS: Keys = {
	all: "Tab",
	word: "Mod-ArrowRight",
	sentence: "Mod-Shift-ArrowRight",
	paragraph: "Mod-Enter",
	next: "Mod-ArrowDown",
	previous: "Mod-ArrowUp",
	dismiss: "Escape",
};

type Pressed = Pick<KeyboardEvent, "key" | "ctrlKey" | "metaKey" | "altKey" | "shiftKey">;

export function chordOf({ key, ctrlKey, metaKey, altKey, shiftKey }: Pressed): string {
	const name = key === " " ? "Space" : key.length === 1 ? key.toLowerCase() : key;
	return [ctrlKey || metaKey ? "Mod" : "", altKey ? "Alt" : "", shiftKey ? "Shift" : "", name].filter(Boolean).join("-");
}

/** What a chord does; null for nothing of ours. */
export function actOf(keys: Keys, chord: string): Act | null {
	return (Object.keys(DEFAULT_KEYS) as Act[]).find((act) => keys[act] === chord) ?? null;
}

/** A chord for people: "Ctrl →". */
export function chordName(chord: string, mac: boolean): string {
	const names: Record<string, string> = { Mod: mac ? "⌘" : "Ctrl", Alt: mac ? "⌥" : "Alt", Shift: mac ? "⇧" : "Shift", ArrowRight: "→", ArrowLeft: "←", ArrowUp: "↑", ArrowDown: "↓", Escape: "Esc" };
	return chord.split(/-(?!$)/).map((part) => names[part] ?? part).join(" ");
}
