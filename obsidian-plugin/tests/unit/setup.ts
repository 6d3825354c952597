// The two of Obsidian's DOM globals that the ghost's widget uses.
interface Info {
	cls?: string;
	attr?: Record<string, string>;
}

function createSpan(this: Node | undefined, info: Info = {}): HTMLSpanElement {
	const span = document.createElement("span");
	if (info.cls) span.className = info.cls;
	for (const [key, value] of Object.entries(info.attr ?? {})) span.setAttribute(key, value);
	if (this instanceof Node) this.appendChild(span);
	return span;
}

if (typeof document !== "undefined") {
	Object.assign(globalThis, { createSpan: (info?: Info) => createSpan.call(undefined, info) });
	Node.prototype.createSpan = createSpan as typeof Node.prototype.createSpan;
	// jsdom lays nothing out; CodeMirror only wants numbers.
	Range.prototype.getClientRects = () => [] as unknown as DOMRectList;
	Range.prototype.getBoundingClientRect = () => new DOMRect();
}
