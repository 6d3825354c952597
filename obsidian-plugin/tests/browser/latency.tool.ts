// Latency as felt, in the real browser with the real daemon: hotkey to the first ghost character,
// warm and cold, idle and while training; and what typing costs. As you type: from the end of a pause to
// the ghost, or to the answer that there is none. `npm run latency` prints two tables.
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { expect, inject, test } from "vitest";
import type { Daemon } from "./daemon.ts";
import { own, REPOSITORY } from "./stage.ts";
import { arrive, enter } from "./visit.ts";

const PRESSES = 15;
const NOTE = "Last night I was in the pool and nobody had drained it. The water was warm and the clock had stopped. ".repeat(12);

test("latency", async () => {
	const stage = own(inject("stages"));
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
		await pages.close();
	}
	const bytes = statSync(join(stage.vault, ".obsidian", "plugins", "vaultgpt", "main.js")).size;
	rows.push(["main.js", `${(bytes / 1000).toFixed(1)} kB`]);
	console.log(["| hotkey to first ghost character | median (best to worst) |", "|---|---|", ...rows.map((row) => `| ${row.join(" | ")} |`)].join("\n"));
	expect(rows.length).toBeGreaterThan(4);
});

/** Words of a page that is not learned, typed one after the other, each followed by a pause. */
const PLACES = Number(process.env["PLACES"] ?? 300);
const PAGE = join(REPOSITORY, "examples", "vault", "Journal", "Summer 2022 (one file).md");

test("as you type", async () => {
	const { pages, daemon } = await enter(own(inject("stages")));
	try {
		const { page } = await pages.load();
		await arrive(page, daemon);
		await page.evaluate(() => window.bench.wish({ asYouType: true, readAhead: false, showVoice: false }));
		const text = readFileSync(PAGE, "utf8").replace(/^---\n[\s\S]*?\n---\n/, "").replace(/^#.*$/gm, "").replace(/\s+/g, " ").trim();
		const all = await page.evaluate(pausing, [text.split(" ").slice(0, PLACES + 12), 12] as const);
		const times = (shown: boolean) => all.filter((one) => one.shown === shown).map(({ ms }) => ms);
		const row = (name: string, ms: number[]) => `| ${name} | ${ms.length} of ${all.length} | ${share(ms, 0.5)} | ${share(ms, 0.95)} |`;
		console.log(["| from the end of the pause | places | p50, ms | p95, ms |", "|---|---|---|---|", row("to the ghost", times(true)), row("to the answer that it is not sure", times(false))].join("\n"));
		expect(all.length).toBeGreaterThan(PLACES - 12);
	} finally {
		await pages.close();
	}
});

/** In the page: types the words after the first `given`, and pauses after each; what is shown is taken and undone. */
async function pausing([words, given]: readonly [string[], number]): Promise<{ ms: number; shown: boolean }[]> {
	const PAUSE_MS = 350; // the plugin's own
	const { bench } = window;
	const found: { ms: number; shown: boolean }[] = [];
	const plain = window.fetch.bind(window);
	let answered = () => undefined as void;
	window.fetch = async (...request) => {
		const response = await plain(...request);
		if (String(request[0]).endsWith("/v1/completions")) void response.clone().text().then(() => setTimeout(() => answered(), 20));
		return response;
	};
	bench.open("Journal/Latency.md", words.slice(0, given).join(" "));
	for (const word of words.slice(given)) {
		const editor = bench.editor;
		if (!editor) break;
		const at = editor.state.doc.length;
		const over = new Promise<number | null>((resolve) => {
			const look = new MutationObserver(() => bench.ghost() && resolve(performance.now()));
			look.observe(editor.dom, { childList: true, subtree: true });
			answered = () => resolve(null);
			setTimeout(() => resolve(null), 2_000);
		});
		editor.dispatch({ changes: { from: at, insert: ` ${word}` }, selection: { anchor: at + word.length + 1 }, userEvent: "input.type" });
		const start = performance.now() + PAUSE_MS;
		const shown = await over;
		found.push({ ms: (shown ?? performance.now() - 20) - start, shown: shown !== null });
		if (shown === null) continue;
		bench.run("accept");
		editor.dispatch({ changes: { from: at + word.length + 1, to: editor.state.doc.length }, userEvent: "undo" });
	}
	return found;
}

function share(times: number[], part: number): string {
	const sorted = [...times].sort((a, b) => a - b);
	return sorted.length > 0 ? (sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? 0).toFixed(0) : "none";
}

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
