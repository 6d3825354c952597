// The job as it is met, filmed in the real page with the real daemon: typing, the hotkey, the ghost
// streaming in, Tab, one undo. Every picture is one the page showed; only waiting is shortened.
import type { Page } from "playwright-core";
import type { Daemon } from "./daemon.ts";
import { animation, type Shot } from "./gif.ts";
import { open } from "./visit.ts";

const PATH = "Dreams/2021-06-19 Lanes.md";
const NOTE = "#dream\n\n";
const TYPED = "The lanes had no ends last night. I swam past the clock and ";
const VIEW = { width: 800, height: 280 };
/** Times (ms) as shown: a key stroke, the shortest and longest wait for a piece, a look at what came. */
const [KEY_MS, LEAST_WAIT_MS, MOST_WAIT_MS, LOOK_MS] = [60, 40, 250, 2_200];

const WITH_CARET = { caret: "initial" } as const;

/** Everything but the note and the status bar makes room; the keys that are pressed are told. */
const SET = `
	body { grid-template: 1fr 26px / 1fr; } #side { display: none; } #status { grid-column: 1; justify-content: space-between; }
	#pane { padding: 20px 40px; } #title { font-size: 22px; margin-bottom: 4px; } #note .cm-editor { font-size: 15px; }
	#keys { order: -1; } #keys:not(:empty) { background: #7852ee; color: #fff; border-radius: 4px; padding: 0 10px; font-weight: 700; }`;

/** The animation's bytes. The page is paired and online. */
export async function film(page: Page, daemon: Daemon): Promise<Uint8Array> {
	const shots: Shot[] = [];
	const shoot = async (holdMs: number) => shots.push({ png: await page.screenshot(WITH_CARET), holdMs });
	const key = (name: string) => page.evaluate((text) => document.querySelector("#keys")?.replaceChildren(text), name);
	await page.setViewportSize(VIEW);
	await page.addStyleTag({ content: SET });
	await page.evaluate(() => {
		document.querySelector("#notices")?.replaceChildren();
		document.querySelector("#status")?.append(Object.assign(document.createElement("span"), { id: "keys" }));
	});
	await open(page, PATH, NOTE);
	await page.addStyleTag({ content: ".cm-cursorLayer, .cm-cursor { animation: none !important; }" });
	await shoot(600);
	for (const part of TYPED.match(/.{1,3}/gs) ?? []) {
		await page.keyboard.type(part);
		await shoot(KEY_MS * part.length);
	}
	await key("Ctrl ;");
	await page.keyboard.press("Control+;");
	await streamed(page, daemon, shots);
	await shoot(LOOK_MS);
	await key("Tab");
	await page.keyboard.press("Tab");
	await shoot(LOOK_MS);
	await key("Ctrl Z");
	await page.keyboard.press("Control+z");
	await shoot(LOOK_MS);
	return animation(shots);
}

/** A picture whenever the ghost has grown, with the time that it took, until it is whole. */
async function streamed(page: Page, daemon: Daemon, shots: Shot[]): Promise<void> {
	const request = (await page.evaluate(() => window.bench.lastRequest())) as object | null;
	const ghost = () => page.evaluate(() => window.bench.ghost());
	let [shown, since] = [await ghost(), Date.now()];
	const frame = async () => {
		const now = Date.now();
		const holdMs = Math.min(Math.max(now - since, LEAST_WAIT_MS), MOST_WAIT_MS);
		shots.push({ png: await page.screenshot(WITH_CARET), holdMs });
		since = now;
	};
	await frame();
	const whole = request ? daemon.texts(request).then(([text]) => text) : Promise.resolve(undefined);
	let text: string | undefined;
	void whole.then((value) => (text = value));
	const until = Date.now() + 120_000;
	while (text === undefined || shown !== text) {
		if (Date.now() > until) throw new Error("the ghost did not become whole");
		const now = await ghost();
		if (now === shown) await page.waitForTimeout(10);
		else {
			shown = now;
			await frame();
		}
	}
}
