import type { TestProject } from "vitest/node";
import { dropStage, makeStage, type Stage } from "./stage.ts";
import { browserPath } from "./pages.ts";

declare module "vitest" {
	interface ProvidedContext {
		stage: Stage;
		browser: boolean;
	}
}

export default async function setup(project: TestProject): Promise<() => void> {
	const browser = browserPath() !== null;
	if (!browser && process.env["CI"] === "true") throw new Error("CI needs Chromium for the browser suite: install it, or set CHROMIUM to its path.");
	if (!browser) console.warn("The browser tests are left out: this machine has no Chromium (install it, or set CHROMIUM).");
	const stage = await makeStage();
	project.provide("stage", stage);
	project.provide("browser", browser);
	return () => dropStage(stage);
}
