// The parts of gifenc and pngjs that the demo's recorder uses; neither package carries types.
declare module "gifenc" {
	export type Palette = number[][];
	export interface FrameOptions {
		palette?: Palette;
		delay?: number;
		transparent?: boolean;
		transparentIndex?: number;
		dispose?: number;
		repeat?: number;
	}
	export interface Encoder {
		writeFrame(index: Uint8Array, width: number, height: number, options?: FrameOptions): void;
		finish(): void;
		bytes(): Uint8Array;
	}
	export function GIFEncoder(): Encoder;
	export function quantize(rgba: Uint8Array, colours: number, options?: { format?: "rgb565" | "rgb444" | "rgba4444" }): Palette;
	export function applyPalette(rgba: Uint8Array, palette: Palette, format?: "rgb565" | "rgb444" | "rgba4444"): Uint8Array;
}

declare module "pngjs" {
	export class PNG {
		constructor(size: { width: number; height: number });
		readonly width: number;
		readonly height: number;
		data: Buffer;
		static readonly sync: { read(data: Buffer): PNG; write(image: PNG): Buffer };
	}
}
