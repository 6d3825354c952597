// A thin stand-in for the obsidian module: what the plugin calls, and no more.
import { StateField, type Extension } from "@codemirror/state";
import type { EditorView } from "@codemirror/view";

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

	registerDomEvent(target: HTMLElement, name: string, listener: (event: Event) => void): void {
		target.addEventListener(name, listener);
		this.register(() => target.removeEventListener(name, listener));
	}

	addChild<T extends Component>(child: T): T {
		this.register(() => child.unload());
		child.load();
		return child;
	}

	onload(): unknown {
		return undefined;
	}

	onunload(): void {}

	load(): void {
		void this.onload();
	}

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
	private readonly listeners = new Map<string, Set<(...given: unknown[]) => void>>();

	on(name: string, listener: (...given: unknown[]) => void): Undo {
		const all = this.listeners.get(name) ?? new Set();
		this.listeners.set(name, all.add(listener));
		return () => all.delete(listener);
	}

	trigger(name: string, ...given: unknown[]): void {
		for (const listener of this.listeners.get(name) ?? []) listener(...given);
	}

	opened(file: TFile, view: MarkdownView): void {
		this.file = file;
		this.view = view;
		this.trigger("file-open", file);
	}

	get activeEditor(): { editor: Editor } | null {
		return this.view;
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

	getMostRecentLeaf(): { view: unknown } | null {
		return this.view && { view: this.view };
	}

	getLeavesOfType(type: string): WorkspaceLeaf[] {
		const view = this.sides.get(type);
		return view ? [view.leaf] : [];
	}

	getRightLeaf(): WorkspaceLeaf {
		return new WorkspaceLeaf(this);
	}

	async revealLeaf(): Promise<void> {}

	readonly linked: string[] = [];

	async openLinkText(path: string): Promise<void> {
		this.linked.push(path);
	}
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

export class Vault {
	configDir = ".obsidian";
	/** The notes' texts by path, all written just now. */
	readonly notes = new Map<string, string>();

	private readonly listeners = new Set<(file: TFile) => void>();

	constructor(readonly adapter: object) {}

	getName(): string {
		return "Notes";
	}

	on(_name: string, listener: (file: TFile) => void): Undo {
		this.listeners.add(listener);
		return () => this.listeners.delete(listener);
	}

	/** As when a note was saved. */
	modified(path: string): void {
		for (const listener of this.listeners) listener({ path });
	}

	getMarkdownFiles(): { path: string; basename: string; stat: { mtime: number } }[] {
		return [...this.notes.keys()].map((path) => ({ path, basename: path.replace(/^.*\/|\.md$/g, ""), stat: { mtime: Date.now() } }));
	}

	async create(path: string, text: string): Promise<{ path: string; basename: string }> {
		this.notes.set(path, text);
		return { path, basename: path.replace(/^.*\/|\.md$/g, "") };
	}

	async cachedRead({ path }: TFile): Promise<string> {
		return this.notes.get(path) ?? "";
	}
}

export class App {
	readonly workspace = new Workspace();
	readonly vault: Vault;
	readonly secrets = new Map<string, string>();
	readonly secretStorage = {
		getSecret: (id: string) => this.secrets.get(id) ?? null,
		setSecret: (id: string, secret: string) => void this.secrets.set(id, secret),
	};

	constructor(adapter: object = {}) {
		this.vault = new Vault(adapter);
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
	/** What lies in data.json. */
	data: unknown = null;

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

	onResize(): void {}
}

export class MarkdownView {
	mode: "source" | "preview" = "source";

	constructor(readonly editor: Editor) {}

	getMode(): "source" | "preview" {
		return this.mode;
	}
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

	get buttonEl(): Element {
		return this.inputEl;
	}

	getValue(): Value {
		return this.read();
	}

	setIcon(name: string): this {
		this.inputEl.classList.add("clickable-icon", `icon-${name}`);
		return this;
	}

	setTooltip(text: string): this {
		this.inputEl.setAttribute("aria-label", text);
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
	readonly controlEl = document.createElement("div");
	readonly infoEl = document.createElement("div");

	constructor(parent: HTMLElement) {
		const [item, info] = [document.createElement("div"), this.infoEl];
		item.className = "setting-item";
		info.className = "setting-item-info";
		this.controlEl.className = "setting-item-control";
		this.name.className = "setting-item-name";
		this.desc.className = "setting-item-description";
		info.append(this.name, this.desc);
		item.append(info, this.controlEl);
		parent.append(item);
	}

	setHeading(): this {
		this.infoEl.parentElement?.classList.add("setting-item-heading");
		return this;
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

	addExtraButton(build: (button: Control<HTMLButtonElement, string>) => unknown): this {
		return this.addButton(build);
	}

	private put<Tag extends keyof HTMLElementTagNameMap>(tag: Tag): HTMLElementTagNameMap[Tag] {
		return this.controlEl.appendChild(document.createElement(tag));
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

/** A phone where the page was told so before it loaded. */
const isMobile = (globalThis as { isPhone?: boolean }).isPhone === true;
export const Platform = { isMacOS: false, isMobile, isDesktop: !isMobile };

/**
 * Obsidian's own request, made outside the page: no CORS, no stream, no calling off. Only a phone's page was
 * given one.
 */
export async function requestUrl(asked: object): Promise<{ status: number; text: string }> {
	const { outside } = globalThis as { outside?: (asked: object) => Promise<{ status: number; text: string } | null> };
	const answer = await outside?.(asked);
	if (!answer) throw new Error("net::ERR");
	return answer;
}

/** This stand-in is an Obsidian without the newest parts. */
export function requireApiVersion(): boolean {
	return false;
}

class MenuItem {
	title = "";
	run: () => unknown = () => undefined;

	setTitle(title: string): this {
		this.title = title;
		return this;
	}

	setIcon(): this {
		return this;
	}

	onClick(run: () => unknown): this {
		this.run = run;
		return this;
	}
}

export class Menu {
	readonly items: MenuItem[] = [];

	addItem(build: (item: MenuItem) => unknown): this {
		const item = new MenuItem();
		build(item);
		this.items.push(item);
		return this;
	}

	showAtMouseEvent(): this {
		const box = document.createElement("div");
		box.className = "menu";
		for (const { title, run } of this.items) {
			const entry = box.appendChild(document.createElement("button"));
			entry.textContent = title;
			entry.addEventListener("click", () => {
				box.remove();
				run();
			});
		}
		document.body.append(box);
		return this;
	}
}

export function normalizePath(path: string): string {
	return path.replace(/^\/+/, "");
}
