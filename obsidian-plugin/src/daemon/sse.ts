/** Server-sent events from chunks of text. Pure; knows nothing about where the chunks come from. */
export interface ServerEvent {
	readonly name: string;
	readonly data: string;
}

/** Feed it chunks as they come; it gives back the events that have become whole. */
export class SseParser {
	private buffer = "";
	private name = "";
	private data: string[] = [];

	push(chunk: string): ServerEvent[] {
		this.buffer += chunk;
		const lines = this.buffer.split(/\r\n|\n|\r(?!$)/);
		this.buffer = lines.pop() ?? "";
		return lines.flatMap((line) => this.line(line));
	}

	private line(line: string): ServerEvent[] {
		if (line === "") return this.dispatch();
		const colon = line.indexOf(":");
		if (colon === 0) return [];
		const field = colon < 0 ? line : line.slice(0, colon);
		const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
		if (field === "event") this.name = value;
		else if (field === "data") this.data.push(value);
		return [];
	}

	private dispatch(): ServerEvent[] {
		const event = { name: this.name || "message", data: this.data.join("\n") };
		const empty = this.data.length === 0;
		this.name = "";
		this.data = [];
		return empty ? [] : [event];
	}
}
