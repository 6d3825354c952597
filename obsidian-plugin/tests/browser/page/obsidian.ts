// A thin stand-in for the obsidian module: what the plugin calls, and no more.
import { StateField, type Extension } from "@codemirror/state";
import type { EditorView } from "@codemirror/view";
import { parse } from "yaml";

export interface Command {
	id: string;
	name: string;
	callback?: () => unknown;
	editorCallback?: (editor: Editor) => unknown;
	editorCheckCallback?: (checking: boolean, editor: Editor) => unknown;
}

export interface Editor {
	cm: EditorView;
}

export interface TFile {
	path: string;
}

type Undo = () => void;

export class Component {
	private readonly undos: Undo[] = [];

	register(undo: Undo): void {
		this.undos.push(undo);
	}

	registerEvent(ref: Undo): void {
		this.register(ref);
	}

	registerDomEvent(target: HTMLElement, name: string, listener: () => void): void {
		target.addEventListener(name, listener);
		this.register(() => target.removeEventListener(name, listener));
	}

	onunload(): void {}

	unload(): void {
		this.onunload();
		for (const undo of this.undos.splice(0).reverse()) undo();
	}
}

export class Workspace {
	file: TFile | null = null;
	view: MarkdownView | null = null;
	ready: (() => void)[] = [];
	readonly sides = new Map<string, ItemView>();
	readonly makers = new Map<string, (leaf: WorkspaceLeaf) => ItemView>();
	private readonly listeners = new Set<() => void>();

	on(_name: string, listener: () => void): Undo {
		this.listeners.add(listener);
		return () => this.listeners.delete(listener);
	}

	opened(file: TFile, view: MarkdownView): void {
		this.file = file;
		this.view = view;
		for (const listener of this.listeners) listener();
	}

	onLayoutReady(callback: () => void): void {
		this.ready.push(callback);
	}

	getActiveFile(): TFile | null {
		return this.file;
	}

	getActiveViewOfType(): MarkdownView | null {
		return this.view;
	}

	getLeavesOfType(type: string): WorkspaceLeaf[] {
		const view = this.sides.get(type);
		return view ? [view.leaf] : [];
	}

	getRightLeaf(): WorkspaceLeaf {
		return new WorkspaceLeaf(this);
	}

	async revealLeaf(): Promise<void> {}
}

export class WorkspaceLeaf {
	constructor(private readonly workspace: Workspace) {}

	async setViewState({ type }: { type: string }): Promise<void> {
		if (this.workspace.sides.has(type)) return;
		const view = this.workspace.makers.get(type)?.(this);
		if (!view) throw new Error(`no view ${type}`);
		this.workspace.sides.set(type, view);
		document.querySelector("#side")?.append(view.contentEl);
		await view.onOpen();
	}
}

export class App {
	readonly workspace = new Workspace();
	readonly vault: { adapter: object };
	readonly secrets = new Map<string, string>();
	readonly secretStorage = {
		getSecret: (id: string) => this.secrets.get(id) ?? null,
		setSecret: (id: string, secret: string) => void this.secrets.set(id, secret),
	};

	constructor(adapter: object = {}) {
		this.vault = { adapter };
	}

	loadLocalStorage(key: string): unknown {
		return JSON.parse(window.localStorage.getItem(key) ?? "null");
	}

	saveLocalStorage(key: string, value: unknown): void {
		if (value === null) window.localStorage.removeItem(key);
		else window.localStorage.setItem(key, JSON.stringify(value));
	}
}

export class Plugin extends Component {
	readonly commands = new Map<string, Command>();
	readonly extensions: Extension[] = [];
	readonly links = new Map<string, (data: Record<string, string>) => void>();
	tab: PluginSettingTab | null = null;
	private data: unknown = null;

	constructor(
		readonly app: App,
		readonly manifest: { id: string; name: string },
	) {
		super();
	}

	addCommand(command: Command): Command {
		this.commands.set(command.id, command);
		this.register(() => this.commands.delete(command.id));
		return command;
	}

	addSettingTab(tab: PluginSettingTab): void {
		this.tab = tab;
	}

	addRibbonIcon(): HTMLElement {
		return document.createElement("div");
	}

	addStatusBarItem(): HTMLElement {
		const item = document.createElement("div");
		item.className = "status-bar-item";
		document.querySelector("#status")?.append(item);
		this.register(() => item.remove());
		return item;
	}

	registerEditorExtension(extension: Extension): void {
		this.extensions.push(extension);
	}

	registerView(type: string, make: (leaf: WorkspaceLeaf) => ItemView): void {
		this.app.workspace.makers.set(type, make);
		this.register(() => this.app.workspace.makers.delete(type));
	}

	registerObsidianProtocolHandler(action: string, handler: (data: Record<string, string>) => void): void {
		this.links.set(action, handler);
	}

	async loadData(): Promise<unknown> {
		return this.data;
	}

	async saveData(data: unknown): Promise<void> {
		this.data = JSON.parse(JSON.stringify(data));
	}
}

export class PluginSettingTab {
	readonly containerEl = document.createElement("div");

	constructor(
		readonly app: App,
		readonly plugin: Plugin,
	) {}

	display(): void {}
}

export class ItemView extends Component {
	readonly contentEl = document.createElement("div");
	readonly app: App;

	constructor(readonly leaf: WorkspaceLeaf) {
		super();
		this.app = (window as unknown as { bench: { app: App } }).bench.app;
	}

	async onOpen(): Promise<void> {}
}

export class MarkdownView {
	constructor(readonly editor: Editor) {}
}

export class FileSystemAdapter {
	constructor(private readonly folder: string) {}

	getBasePath(): string {
		return this.folder;
	}
}

export class Notice {
	readonly messageEl = document.createElement("div");

	constructor(message: string) {
		this.messageEl.className = "notice";
		this.messageEl.textContent = message;
		document.querySelector("#notices")?.append(this.messageEl);
	}
}

export class Modal {
	readonly contentEl = document.createElement("div");
	private readonly box = document.createElement("div");

	constructor(readonly app: App) {
		this.box.className = "modal";
		this.box.append(document.createElement("h3"), this.contentEl);
	}

	setTitle(title: string): void {
		if (this.box.firstElementChild) this.box.firstElementChild.textContent = title;
	}

	onOpen(): void {}
	onClose(): void {}

	open(): void {
		document.body.append(this.box);
		this.onOpen();
	}

	close(): void {
		this.box.remove();
		this.onClose();
	}
}

class Control<Element extends HTMLElement, Value> {
	private read: () => Value;

	constructor(
		readonly inputEl: Element,
		private readonly event: string,
		read: () => Value,
	) {
		this.read = read;
	}

	setValue(value: Value): this {
		const input = this.inputEl as unknown as { value: unknown; checked: unknown };
		if (typeof value === "boolean") input.checked = value;
		else input.value = value;
		return this;
	}

	setPlaceholder(text: string): this {
		this.inputEl.setAttribute("placeholder", text);
		return this;
	}

	addOption(value: string, text: string): this {
		this.inputEl.append(new Option(text, value));
		return this;
	}

	addOptions(options: Record<string, string>): this {
		for (const [value, text] of Object.entries(options)) this.addOption(value, text);
		return this;
	}

	onChange(listener: (value: Value) => unknown): this {
		this.inputEl.addEventListener(this.event, () => void listener(this.read()));
		return this;
	}

	setButtonText(text: string): this {
		this.inputEl.textContent = text;
		return this;
	}

	setCta(): this {
		this.inputEl.classList.add("mod-cta");
		return this;
	}

	onClick(listener: () => unknown): this {
		this.inputEl.addEventListener("click", () => void listener());
		return this;
	}
}

export class Setting {
	private readonly name = document.createElement("div");
	private readonly desc = document.createElement("div");
	private readonly control = document.createElement("div");

	constructor(parent: HTMLElement) {
		const [item, info] = [document.createElement("div"), document.createElement("div")];
		item.className = "setting-item";
		info.className = "setting-item-info";
		this.name.className = "setting-item-name";
		this.desc.className = "setting-item-description";
		info.append(this.name, this.desc);
		item.append(info, this.control);
		parent.append(item);
	}

	setName(name: string): this {
		this.name.textContent = name;
		return this;
	}

	setDesc(desc: string): this {
		this.desc.textContent = desc;
		return this;
	}

	addText(build: (text: Control<HTMLInputElement, string>) => unknown): this {
		const input = this.put("input");
		return this.built(build, new Control(input, "input", () => input.value));
	}

	addToggle(build: (toggle: Control<HTMLInputElement, boolean>) => unknown): this {
		const input = this.put("input");
		input.type = "checkbox";
		return this.built(build, new Control(input, "change", () => input.checked));
	}

	addDropdown(build: (dropdown: Control<HTMLSelectElement, string>) => unknown): this {
		const select = this.put("select");
		return this.built(build, new Control(select, "change", () => select.value));
	}

	addButton(build: (button: Control<HTMLButtonElement, string>) => unknown): this {
		return this.built(build, new Control(this.put("button"), "click", () => ""));
	}

	private put<Tag extends keyof HTMLElementTagNameMap>(tag: Tag): HTMLElementTagNameMap[Tag] {
		return this.control.appendChild(document.createElement(tag));
	}

	private built<T>(build: (control: T) => unknown, control: T): this {
		build(control);
		return this;
	}
}

export const editorInfoField = StateField.define<{ file: TFile | null }>({
	create: () => ({ file: null }),
	update: (value) => value,
});

export function parseYaml(text: string): unknown {
	return parse(text) as unknown;
}
