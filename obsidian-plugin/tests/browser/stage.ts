// A vault with a really trained generation, made once by the program's own commands; and copies of it,
// one for each test worker, so that what one changes no other sees.
import { execFile } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

export const REPOSITORY = join(import.meta.dirname, "..", "..", "..");
const EXAMPLE = join(REPOSITORY, "examples", "vault");

/** Enough of the example for one short round. */
const PARTS = [".obsidian", "Dreams", "Poems"];
/**
 * Half a pass over it, and arithmetic in which the same seed gives the same text warm or cold. One thread each:
 * two wait for the slower one at every product, and beside a busy neighbour a round of half a minute took twelve.
 */
const SETTINGS = `[training]
epochs = 0.5
threads = 1
first_round_s = 3600
pause = true

[mirror]
dtype = "float32"
threads = 1

[server]
origins = []
`;

export interface Stage {
	root: string;
	vault: string;
	home: string;
	generation: string;
	/** The process of the whole suite: what runs for it ends with it. */
	owner: number;
	/** Where the page is served, and a browser that opens it; "" where this machine has none. */
	origin: string;
	browser: string;
}

export function python(): string {
	const candidates = [process.env["VAULTGPT_PYTHON"], join(REPOSITORY, ".venv", "bin", "python"), join(REPOSITORY, ".venv", "Scripts", "python.exe")];
	const found = candidates.find((path) => path && existsSync(path));
	if (!found) throw new Error("No Python with vaultgpt: run `make test`, or set VAULTGPT_PYTHON.");
	return found;
}

export function environment(home: string): NodeJS.ProcessEnv {
	return { ...process.env, VAULTGPT_HOME: home, PYTHONPATH: REPOSITORY, PYTHONUNBUFFERED: "1" };
}

/** One command of the program; its JSON when it was asked for. */
export async function vaultgpt(home: string, ...args: string[]): Promise<string> {
	const options = { env: environment(home), timeout: 900_000, maxBuffer: 1 << 26 };
	const { stdout } = await promisify(execFile)(python(), ["-m", "vaultgpt", ...args], options);
	return stdout;
}

/** The state folder of the one vault that is known in `home`. */
export function stateOf({ home }: Pick<Stage, "home">): string {
	return join(home, "vaults", readdirSync(join(home, "vaults"))[0] ?? "");
}

export interface Stages {
	/** Where the one generation was trained. */
	trained: string;
	/** Its copies. */
	stages: Stage[];
}

/** `count` stages of one generation, which is trained now, or was in the folder that VAULTGPT_STAGE names. */
export async function makeStages(count: number, origin: string, browser: string): Promise<Stages> {
	const kept = process.env["VAULTGPT_STAGE"];
	const root = kept ?? mkdtempSync(join(tmpdir(), "vaultgpt-stage-"));
	const first = placed(root);
	if (!existsSync(first.home)) await train(first);
	const config = join(stateOf(first), "config.toml");
	writeFileSync(config, readFileSync(config, "utf8").replace(/^origins = .*$/m, `origins = ["${origin}"]`));
	const generation = readdirSync(join(stateOf(first), "generations")).sort().at(-1) ?? "";
	return { trained: root, stages: Array.from({ length: count }, (_, n) => ({ ...copied(root, n), generation, owner: process.pid, origin, browser })) };
}

function placed(root: string): Pick<Stage, "root" | "vault" | "home"> {
	return { root, vault: join(root, "vault"), home: join(root, "home") };
}

async function train({ vault, home }: Pick<Stage, "vault" | "home">): Promise<void> {
	mkdirSync(vault, { recursive: true });
	for (const part of PARTS) cpSync(join(EXAMPLE, part), join(vault, part), { recursive: true });
	await vaultgpt(home, "init", vault, "--json");
	writeFileSync(join(stateOf({ home }), "config.toml"), SETTINGS);
	const answer = JSON.parse(await vaultgpt(home, "train", vault, "--json")) as { generation: string | null; verdict: { promoted: boolean; why: string } };
	if (!answer.generation) throw new Error(`The round made no generation: ${answer.verdict.why}`);
	if (!answer.verdict.promoted) await vaultgpt(home, "activate", answer.generation, "--vault", vault);
}

/** The stage of `root` once more, in a folder of its own: only what names the vault is written anew. */
function copied(root: string, n: number): Pick<Stage, "root" | "vault" | "home"> {
	const own = mkdtempSync(join(tmpdir(), `vaultgpt-stage-${n}-`));
	for (const part of ["vault", "home"]) cpSync(join(root, part), join(own, part), { recursive: true, preserveTimestamps: true });
	const made = placed(own);
	for (const file of [join(made.home, "vaults.json"), join(stateOf(made), "vault.json")])
		writeFileSync(file, readFileSync(file, "utf8").replaceAll(JSON.stringify(placed(root).vault), JSON.stringify(made.vault)));
	return made;
}

export function dropStages({ trained, stages }: Stages): void {
	for (const { root } of stages) rmSync(root, { recursive: true, force: true });
	if (!process.env["VAULTGPT_STAGE"]) rmSync(trained, { recursive: true, force: true });
}

/** The one that belongs to this test worker. */
export function own(stages: readonly Stage[]): Stage {
	const stage = stages[Number(process.env["VITEST_POOL_ID"] ?? 1) - 1];
	if (!stage) throw new Error(`There is no stage for worker ${process.env["VITEST_POOL_ID"]}.`);
	return stage;
}

/** The plugin's files as they were installed. */
export function installed(stage: Pick<Stage, "vault">, name: string): Buffer {
	return readFileSync(join(stage.vault, ".obsidian", "plugins", "vaultgpt", name));
}
