/** A small chart of held-out bits per byte by generation, as inline SVG. */
import type { Generation } from "../daemon/api.ts";
import { learned } from "../words.ts";

const CAPTION = "How much pages that it never saw surprise each voice; lower is better";
const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, EDGE] = [240, 72, 16];

/** One point a generation that was measured, oldest first; lower is better and lies lower. */
export function points(generations: readonly Generation[]): { x: number; y: number; generation: Generation }[] {
	const measured = generations.filter(({ heldOut }) => heldOut !== null).reverse();
	const values = measured.map(({ heldOut }) => heldOut ?? 0);
	const [low, high] = [Math.min(...values), Math.max(...values)];
	const across = (WIDTH - 2 * EDGE) / Math.max(1, measured.length - 1);
	const y = (value: number) => (high === low ? HEIGHT / 2 : EDGE + ((high - value) / (high - low)) * (HEIGHT - 2 * EDGE));
	return measured.map((generation, n) => ({
		x: EDGE + n * across,
		y: y(generation.heldOut ?? 0),
		generation,
	}));
}

/** Draw the chart under `parent`; nothing when fewer than two generations were measured. */
export function drawChart(parent: HTMLElement, generations: readonly Generation[]): void {
	const all = points(generations);
	if (all.length < 2) return;
	const make = (name: string, attributes: Record<string, string | number>) => {
		const element = parent.ownerDocument.createElementNS(SVG, name);
		for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
		return element;
	};
	const svg = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "vaultgpt-chart", role: "img" });
	svg.setAttribute("aria-label", CAPTION);
	svg.append(make("polyline", { points: all.map(({ x, y }) => `${x},${y}`).join(" ") }));
	for (const { x, y, generation } of all) {
		const dot = make("circle", { cx: x, cy: y, r: 3.5, class: generation.active ? "is-active" : "" });
		const title = make("title", {});
		title.textContent = `The voice ${learned(generation)}: ${generation.heldOut?.toFixed(3)} bits per byte`;
		dot.append(title);
		svg.append(dot);
	}
	for (const [at, anchor] of [[all[0], "start"], [all.at(-1), "end"]] as const) {
		const figure = make("text", { x: at?.x ?? 0, y: (at?.y ?? 0) - 7, "text-anchor": anchor });
		figure.textContent = at?.generation.heldOut?.toFixed(3) ?? "";
		svg.append(figure);
	}
	parent.append(svg);
	parent.createEl("p", { cls: "vaultgpt-view-quiet", text: `${CAPTION}.` });
}
