import type { Plugin } from "obsidian";
import { afterEach, expect, test, vi } from "vitest";
import { Core } from "../../src/core.ts";

const said: string[] = [];

vi.mock("obsidian", () => ({
	Component: class {},
	FileSystemAdapter: class {},
	Platform: { isMobile: false, isDesktop: true },
	Notice: class {
		readonly messageEl = document.createElement("div");

		constructor(sentence: string) {
			said.push(sentence);
		}
	},
}));

afterEach(() => vi.restoreAllMocks());

test("a setting that could not be saved is said, and the next one is saved", async () => {
	vi.spyOn(console, "error").mockReturnValue(undefined);
	let stored: unknown = null;
	let full = true;
	const saveData = async (data: unknown) => {
		if (full) throw new Error("ENOSPC");
		stored = data;
	};
	const core = new Core({ app: { vault: { adapter: {} } }, loadData: async () => stored, saveData } as unknown as Plugin);
	await core.change({ alternatives: 2 });
	expect(said).toEqual([expect.stringContaining("was not saved")]);
	expect(core.settings.alternatives).toBe(2);
	full = false;
	await core.change({ alternatives: 4 });
	expect(stored).toEqual({ alternatives: 4 });
});
