// Screenshots with their times to an animated GIF: one palette, and only the pixels that changed.
import { applyPalette, GIFEncoder, quantize } from "gifenc";
import { PNG } from "pngjs";

export interface Shot {
	/** A PNG; all of one animation have the same size. */
	png: Buffer;
	/** How long (ms) it is shown. */
	holdMs: number;
}

/** Colours besides the one for "as before". */
const COLOURS = 63;

/** The animation's bytes; it runs for ever. */
export function animation(shots: readonly Shot[]): Uint8Array {
	const images = shots.map(({ png }) => PNG.sync.read(png));
	const [first] = images;
	if (!first) throw new Error("an animation needs a picture");
	const { width, height } = first;
	const palette = quantize(joined([first, ...spread(images, 6)]), COLOURS);
	const asBefore = palette.length;
	const whole = [...palette, [0, 0, 0]];
	const encoder = GIFEncoder();
	let last: Uint8Array | null = null;
	for (const [n, image] of images.entries()) {
		if (image.width !== width || image.height !== height) throw new Error("all pictures must have one size");
		const now = applyPalette(new Uint8Array(image.data), palette);
		const drawn = last ? changed(now, last, asBefore) : now;
		const options = { delay: shots[n]?.holdMs ?? 0, transparent: last !== null, transparentIndex: asBefore, dispose: 1 };
		encoder.writeFrame(drawn, width, height, last ? options : { ...options, palette: whole, repeat: 0 });
		last = now;
	}
	encoder.finish();
	return encoder.bytes();
}

function changed(now: Uint8Array, before: Uint8Array, asBefore: number): Uint8Array {
	return now.map((colour, n) => (colour === before[n] ? asBefore : colour));
}

/** A few pictures from all over the story, so that the palette has the colours of each part. */
function spread<T>(items: readonly T[], count: number): T[] {
	return Array.from({ length: count }, (_, n) => items[Math.floor(((n + 0.5) / count) * items.length)]).filter((item) => item !== undefined);
}

function joined(images: readonly { data: Buffer }[]): Uint8Array {
	return new Uint8Array(Buffer.concat(images.map(({ data }) => data)));
}
