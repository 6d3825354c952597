import { defineConfig } from "vitest/config";

export default defineConfig({
	test: {
		environment: "node",
		include: ["tests/browser/*.tool.ts"],
		globalSetup: ["tests/browser/global.ts"],
		maxWorkers: 1,
		testTimeout: 900_000,
		hookTimeout: 900_000,
	},
});
