import type { Plugin } from "obsidian";
import { afterEach, expect, test, vi } from "vitest";
import { statusOf } from "../../src/daemon/answers.ts";
import { Core } from "../../src/core.ts";

const said: string[] = [];

vi.mock("obsidian", () => ({
	Component: class {
		register(): void {}
	},
	FileSystemAdapter: class {},
	Platform: { isMobile: false, isDesktop: true },
	Notice: class {
		readonly messageEl = document.createElement("div");

		constructor(sentence: string) {
			said.push(sentence);
		}
	},
}));

afterEach(() => {
	vi.restoreAllMocks();
	said.length = 0;
});

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

test("a plugin and a daemon of two versions are told apart once, with the mend", () => {
	const workspace = { onLayoutReady: (ready: () => void) => ready() };
	const app = { vault: { adapter: {}, configDir: [".", "obsidian"].join("") }, workspace };
	const core = new Core({ app, manifest: { version: "0.10.0" } } as unknown as Plugin);
	vi.spyOn(core.model, "start").mockResolvedValue();
	const reach = vi.spyOn(core.model, "onReached");
	core.onload();
	const meet = (version: string) => {
		core.model.daemon = { ...core.model.daemon, status: statusOf({ version }) };
		for (const [listener] of reach.mock.calls) listener();
	};
	for (const version of ["0.10.0", "0.9.1", "0.9.1", "0.11.0"]) meet(version);
	expect(said).toEqual([expect.stringMatching(/0\.10\.0\) is newer.*0\.9\.1.*pip install -U/), expect.stringMatching(/0\.10\.0\) is older.*0\.11\.0.*vaultgpt plugin install/)]);
});
