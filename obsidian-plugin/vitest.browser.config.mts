import { BaseSequencer, type TestSpecification } from "vitest/node";
import { defineConfig } from "vitest/config";

/** The longest files first, so that two workers end together; of equal ones by name. */
class LongestFirst extends BaseSequencer {
	override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
		const place = ({ moduleId }: TestSpecification) => ["page", "side", "places", "desktop", "typing"].findIndex((name) => moduleId.endsWith(`${name}.test.ts`)) >>> 0;
		return [...files].sort((a, b) => place(a) - place(b) || a.moduleId.localeCompare(b.moduleId));
	}
}

export default defineConfig({
	test: {
		environment: "node",
		include: ["tests/browser/**/*.test.ts"],
		globalSetup: ["tests/browser/global.ts"],
		maxWorkers: 2,
		sequence: { sequencer: LongestFirst },
		testTimeout: 120_000,
		hookTimeout: 900_000,
		expect: { poll: { timeout: 10_000 } }, // a page and a daemon answer in their own time
	},
});
