// Obsidian's additions to the DOM that the ghost uses.
interface Info {
	cls?: string;
	attr?: Record<string, string>;
}

function create(this: Node | undefined, tag: string, info: Info = {}): HTMLElement {
	const span = document.createElement(tag);
	if (info.cls) span.className = info.cls;
	for (const [key, value] of Object.entries(info.attr ?? {})) span.setAttribute(key, value);
	if (this instanceof Node) this.appendChild(span);
	return span;
}

if (typeof document !== "undefined") {
	Object.assign(globalThis, { createSpan: (info?: Info) => create.call(undefined, "span", info) });
	Object.assign(Node.prototype, {
		createSpan(this: Node, info?: Info) {
			return create.call(this, "span", info);
		},
		createDiv(this: Node, info?: Info) {
			return create.call(this, "div", info);
		},
	});
	Object.defineProperty(Node.prototype, "win", { get: () => window });
	// jsdom lays nothing out; CodeMirror only wants numbers.
	Range.prototype.getClientRects = () => [] as unknown as DOMRectList;
	Range.prototype.getBoundingClientRect = () => new DOMRect();
}
