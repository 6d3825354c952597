/**
 * Where a vault's daemon says how to reach it: the state folder, vaults.json, runtime.json.
 * Node's modules are given, so that the rules can be tested for every platform.
 */
import { movedHere, notRunning, notSetUp } from "./problem.ts";

export interface Files {
	/** The text of a file; null when there is none. */
	read(path: string): Promise<string | null>;
	realpath(path: string): Promise<string>;
	exists(path: string): Promise<boolean>;
}

export interface Machine {
	readonly platform: string;
	readonly env: Readonly<Record<string, string | undefined>>;
	readonly home: string;
	readonly files: Files;
}

export interface Endpoint {
	readonly port: number;
	readonly token: string;
	/** The vault's folder below the one the daemon keeps, with a slash at the end; mostly "". */
	readonly prefix: string;
}

/**
 * Where the daemon's state root may be; `chosen` is the author's own setting. A Flatpak or Snap gives Obsidian
 * another XDG_DATA_HOME than the terminal that the daemon was started in has.
 */
export function stateRoots({ platform, env, home }: Machine, chosen = ""): string[] {
	const given = chosen.trim() || env["VAULTGPT_HOME"];
	if (given) return [given.replace(/^~(?=$|[\\/])/, home)];
	if (platform === "darwin") return [`${home}/Library/Application Support/vaultgpt`];
	if (platform === "win32") return [`${env["LOCALAPPDATA"] || `${home}\\AppData\\Local`}\\vaultgpt`];
	return [...new Set([env["XDG_DATA_HOME"] || `${home}/.local/share`, `${home}/.local/share`])].map((data) => `${data}/vaultgpt`);
}

/** The running daemon of the vault at `vault`. Throws Problem with the mend. */
export async function findEndpoint(machine: Machine, vault: string, chosen = ""): Promise<Endpoint> {
	const slash = machine.platform === "win32" ? "\\" : "/";
	const real = await machine.files.realpath(vault);
	const others: string[] = [];
	let setUp = false;
	for (const root of stateRoots(machine, chosen)) {
		const known = vaultsOf(await machine.files.read(`${root}${slash}vaults.json`));
		const place = placeOf(known, real, machine.platform);
		if (!place) {
			others.push(...Object.keys(known));
			continue;
		}
		setUp = true;
		const path = [root, "vaults", place.folder, "runtime.json"].join(slash);
		const runtime = runtimeOf(await machine.files.read(path));
		if (runtime) return { ...runtime, prefix: place.prefix };
	}
	if (setUp) throw notRunning(vault);
	const gone = await missing(machine.files, others);
	throw gone ? movedHere(vault, gone) : notSetUp(vault);
}

/** A known vault whose folder is gone; null for none. */
async function missing(files: Files, vaults: readonly string[]): Promise<string | null> {
	for (const vault of vaults) if (!(await files.exists(vault))) return vault;
	return null;
}

function vaultsOf(text: string | null): Record<string, string> {
	const value = parsed(text)?.["vaults"];
	if (typeof value !== "object" || value === null) return {};
	const entries = Object.entries(value).filter((entry): entry is [string, string] => typeof entry[1] === "string");
	return Object.fromEntries(entries);
}

function runtimeOf(text: string | null): { port: number; token: string } | null {
	const value = parsed(text);
	const [port, token] = [value?.["port"], value?.["token"]];
	return typeof port === "number" && typeof token === "string" ? { port, token } : null;
}

function parsed(text: string | null): Record<string, unknown> | null {
	if (text === null) return null;
	try {
		const value: unknown = JSON.parse(text);
		return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : null;
	} catch {
		return null;
	}
}

/** The entry of vaults.json for `real` or the nearest folder above it. */
function placeOf(known: Record<string, string>, real: string, platform: string) {
	const plain = (path: string) => {
		const slashes = platform === "win32" ? path.replace(/\\/g, "/") : path;
		return slashes.normalize("NFC").replace(/\/+$/, "");
	};
	const folded = (path: string) =>
		platform === "win32" || platform === "darwin" ? plain(path).toLowerCase() : plain(path);
	const here = folded(real);
	const above = Object.keys(known)
		.filter((vault) => here === folded(vault) || here.startsWith(`${folded(vault)}/`))
		.sort((a, b) => b.length - a.length)[0];
	if (above === undefined) return null;
	const below = plain(real).slice(plain(above).length + 1);
	return { folder: known[above] ?? "", prefix: below ? `${below}/` : "" };
}
