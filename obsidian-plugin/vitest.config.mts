import { defineConfig } from "vitest/config";

export default defineConfig({
	test: {
		environment: "jsdom",
		include: ["tests/unit/**/*.test.ts"],
		setupFiles: ["tests/unit/setup.ts"],
		testTimeout: 15_000,
	},
});
