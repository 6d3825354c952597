// @vitest-environment node
import { PNG } from "pngjs";
import { expect, test } from "vitest";
import { animation } from "../browser/gif.ts";

function picture(black: number): Buffer {
	const png = new PNG({ width: 16, height: 8 });
	for (let at = 0; at < png.data.length; at += 4) png.data.set(at / 4 < black ? [0, 0, 0, 255] : [255, 255, 255, 255], at);
	return PNG.sync.write(png);
}

test("screenshots become an animation that runs for ever, each with its time", () => {
	const gif = Buffer.from(animation([0, 5, 9].map((black) => ({ png: picture(black), holdMs: 200 }))));
	expect(gif.subarray(0, 6).toString("latin1")).toBe("GIF89a");
	expect([gif.readUInt16LE(6), gif.readUInt16LE(8)]).toEqual([16, 8]);
	expect(gif.includes("NETSCAPE2.0")).toBe(true);
	const frames = gif.toString("latin1").split("\x21\xf9\x04").slice(1);
	expect(frames.map((frame) => frame.charCodeAt(1))).toEqual([20, 20, 20]);
	expect(gif.at(-1)).toBe(0x3b);
});
