import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

// Obsidian's package holds types alone: a stand-in, of which a test may give its own in turn.
const obsidian = fileURLToPath(new URL("tests/browser/page/obsidian.ts", import.meta.url));

export default defineConfig({
	resolve: { alias: { obsidian } },
	test: {
		environment: "jsdom",
		include: ["tests/unit/**/*.test.ts"],
		setupFiles: ["tests/unit/setup.ts"],
		testTimeout: 15_000,
	},
});
