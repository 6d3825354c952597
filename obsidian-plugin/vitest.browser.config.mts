import { defineConfig } from "vitest/config";

export default defineConfig({
	test: {
		environment: "node",
		include: ["tests/browser/**/*.test.ts"],
		globalSetup: ["tests/browser/global.ts"],
		fileParallelism: false,
		testTimeout: 120_000,
		hookTimeout: 900_000,
	},
});
