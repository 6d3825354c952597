// Latency as felt, in the real browser with the real daemon: hotkey to the first ghost character,
// warm and cold, idle and while training; and what typing costs. `npm run latency` prints a table.
import { statSync } from "node:fs";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { expect, inject, test } from "vitest";
import type { Daemon } from "./daemon.ts";
import { arrive, enter } from "./visit.ts";

const PRESSES = 15;
const NOTE = "Last night I was in the pool and nobody had drained it. The water was warm and the clock had stopped. ".repeat(12);

test("latency", async () => {
	const stage = inject("stage");
	const { pages, daemon } = await enter(stage);
	const rows: [string, string][] = [];
	try {
		const { page } = await pages.load();
		await arrive(page, daemon);
		rows.push(["cold: the daemon's first request", ms([await press(page, NOTE)])]);
		const changed: number[] = [];
		const again: number[] = [];
		for (let n = 0; n < PRESSES; n++) {
			changed.push(await press(page, `Note ${n}. ${NOTE}`));
			again.push(await press(page, `Note ${n}. ${NOTE}`));
		}
		rows.push(["idle, a note it has not read", ms(changed)], ["idle, warm", ms(again)]);
		const training = await whileTraining(page, daemon);
		rows.push(["while training, warm", training.length > 0 ? ms(training) : "the round was over before"]);
		rows.push(["a keystroke without a ghost, beyond CodeMirror's own", `${Math.max(0.001, await keystroke(page)).toFixed(3)} ms or less`]);
	} finally {
		await daemon.kill();
		await pages.close();
	}
	const bytes = statSync(join(stage.vault, ".obsidian", "plugins", "vaultgpt", "main.js")).size;
	rows.push(["main.js", `${(bytes / 1000).toFixed(1)} kB`]);
	console.log(["| hotkey to first ghost character | median (best to worst) |", "|---|---|", ...rows.map((row) => `| ${row.join(" | ")} |`)].join("\n"));
	expect(rows.length).toBeGreaterThan(4);
});

/** Milliseconds from the key to the first character that can be seen; the ghost is dismissed. */
async function press(page: Page, note: string): Promise<number> {
	return page.evaluate(async (text) => {
		window.bench.open("Dreams/Latency.md", text);
		const shown = new Promise<number>((resolve) => {
			const look = () => (window.bench.ghost() ? resolve(performance.now()) : void setTimeout(look, 1));
			look();
		});
		const start = performance.now();
		window.bench.run("continue");
		const end = await shown;
		window.bench.run("dismiss");
		await new Promise((resolve) => setTimeout(resolve, 150));
		return end - start;
	}, note);
}

async function whileTraining(page: Page, daemon: Daemon): Promise<number[]> {
	await daemon.post("/v1/train", { fresh: true });
	const phase = async () => ((await daemon.get("/v1/status"))["training"] as { phase: string } | null)?.phase;
	await expect.poll(phase, { timeout: 300_000, interval: 100 }).toBe("train");
	const times: number[] = [];
	for (let n = 0; n < PRESSES; n++) {
		if ((await phase()) !== "train") break;
		times.push(await press(page, NOTE));
	}
	await daemon.post("/v1/train/cancel", {}).catch(() => undefined);
	return times;
}

async function keystroke(page: Page): Promise<number> {
	return page.evaluate(() => {
		const time = (extended: boolean) => {
			const { extensions } = window.bench.plugin ?? {};
			if (!extended && window.bench.plugin) Object.assign(window.bench.plugin, { extensions: [] });
			window.bench.open("Dreams/Latency.md", "word ".repeat(2_000));
			Object.assign(window.bench.plugin ?? {}, { extensions });
			const { editor } = window.bench;
			const batches = Array.from({ length: 20 }, () => {
				const start = performance.now();
				for (let n = 0; n < 50; n++) editor?.dispatch({ changes: { from: 5_000, insert: "a" }, userEvent: "input.type" });
				return (performance.now() - start) / 50;
			});
			return Math.min(...batches);
		};
		time(true);
		const plain = time(false);
		return Math.max(0, time(true) - plain);
	});
}

function ms(times: number[]): string {
	const sorted = [...times].sort((a, b) => a - b);
	const [best, middle, worst] = [sorted[0], sorted[Math.floor(sorted.length / 2)], sorted.at(-1)].map((time) => Math.round(time ?? 0));
	return times.length === 1 ? `${middle} ms` : `${middle} ms (${best} to ${worst}, n=${times.length})`;
}
