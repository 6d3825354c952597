// Obsidian's additions to the DOM, as far as the plugin uses them.
export interface Info {
	cls?: string | string[];
	text?: string;
	attr?: Record<string, string>;
}

function make(this: Node | undefined, tag: string, info: Info = {}): HTMLElement {
	const element = document.createElement(tag);
	if (info.cls) element.className = [info.cls].flat().join(" ");
	if (info.text !== undefined) element.textContent = info.text;
	for (const [key, value] of Object.entries(info.attr ?? {})) element.setAttribute(key, value);
	if (this instanceof Node) this.appendChild(element);
	return element;
}

export function installDom(): void {
	const node = Node.prototype as unknown as Record<string, unknown>;
	node["createEl"] = make;
	node["createDiv"] = function (this: Node, info?: Info) {
		return make.call(this, "div", info);
	};
	node["createSpan"] = function (this: Node, info?: Info) {
		return make.call(this, "span", info);
	};
	node["empty"] = function (this: Node) {
		while (this.firstChild) this.firstChild.remove();
	};
	Object.defineProperty(Node.prototype, "win", { get: () => window });
	const element = HTMLElement.prototype as unknown as Record<string, unknown>;
	element["setText"] = function (this: HTMLElement, text: string) {
		this.textContent = text;
	};
	element["addClass"] = function (this: HTMLElement, ...names: string[]) {
		this.classList.add(...names);
	};
	element["isShown"] = function (this: HTMLElement) {
		return this.getClientRects().length > 0;
	};
	element["toggleClass"] = function (this: HTMLElement, name: string, on: boolean) {
		this.classList.toggle(name, on);
	};
	Object.assign(window, {
		activeDocument: document,
		createEl: (tag: string, info?: Info) => make.call(undefined, tag, info),
		createDiv: (info?: Info) => make.call(undefined, "div", info),
		createSpan: (info?: Info) => make.call(undefined, "span", info),
		sleep: (ms: number) => new Promise((resolve) => setTimeout(resolve, ms)),
	});
}
