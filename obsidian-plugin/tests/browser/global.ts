// Once for the whole suite: the page and the browser while one round is trained, then a copy of the
// trained vault for each test worker. What the workers' daemons leave running is ended here.
import { availableParallelism } from "node:os";
import type { TestProject } from "vitest/node";
import { Daemon } from "./daemon.ts";
import { browserPath, servePage, startBrowser } from "./pages.ts";
import { dropStages, makeStages, type Stage } from "./stage.ts";

declare module "vitest" {
	interface ProvidedContext {
		stages: Stage[];
		browser: boolean;
	}
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
	const path = browserPath();
	if (!path && process.env["CI"] === "true") throw new Error("CI needs Chromium for the browser suite: install it, or set CHROMIUM to its path.");
	if (!path) console.warn("The browser tests are left out: this machine has no Chromium (install it, or set CHROMIUM).");
	const served = await servePage();
	const browser = path ? await startBrowser(path) : null;
	const workers = Number(project.config.maxWorkers) || availableParallelism();
	const made = await makeStages(workers, served.origin, browser?.wsEndpoint() ?? "");
	served.vault = made.stages[0]?.vault ?? "";
	project.provide("stages", made.stages);
	project.provide("browser", path !== null);
	return async () => {
		await Promise.all([served.close(), browser?.close(), ...made.stages.map((stage) => Daemon.found(stage)?.kill())]);
		dropStages(made);
	};
}
