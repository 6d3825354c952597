// A vault with a really trained generation, made by the program's own commands.
import { execFile } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

export const REPOSITORY = join(import.meta.dirname, "..", "..", "..");
const EXAMPLE = join(REPOSITORY, "examples", "vault");

/** Enough of the example for one short round. */
const PARTS = [".obsidian", "Dreams", "Poems"];
/** One pass over it, and arithmetic in which the same seed gives the same text warm or cold. */
const OPTIONS = { "training.epochs": "0.5", "training.first_round_s": "3600", "mirror.dtype": "float32", "training.pause": "true" };

export interface Stage {
	root: string;
	vault: string;
	home: string;
	generation: string;
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

export async function makeStage(): Promise<Stage> {
	const kept = process.env["VAULTGPT_STAGE"]; // a stage made before, to save its training
	const root = kept ?? mkdtempSync(join(tmpdir(), "vaultgpt-stage-"));
	const [vault, home] = [join(root, "vault"), join(root, "home")];
	if (!existsSync(home)) await train(vault, home);
	await vaultgpt(home, "plugin", "install", vault);
	const { active } = JSON.parse(await vaultgpt(home, "status", vault, "--json")) as { active: string };
	return { root, vault, home, generation: active };
}

async function train(vault: string, home: string): Promise<void> {
	mkdirSync(vault, { recursive: true });
	for (const part of PARTS) cpSync(join(EXAMPLE, part), join(vault, part), { recursive: true });
	await vaultgpt(home, "init", vault, "--no-plugin", "--json");
	for (const [key, value] of Object.entries(OPTIONS)) await vaultgpt(home, "config", vault, key, value);
	const answer = JSON.parse(await vaultgpt(home, "train", vault, "--json")) as { generation: string | null; verdict: { promoted: boolean; why: string } };
	if (!answer.generation) throw new Error(`The round made no generation: ${answer.verdict.why}`);
	if (!answer.verdict.promoted) await vaultgpt(home, "activate", answer.generation, "--vault", vault);
}

export function dropStage({ root }: Stage): void {
	if (!process.env["VAULTGPT_STAGE"]) rmSync(root, { recursive: true, force: true });
}

/** The plugin's files as they were installed. */
export function installed(stage: Stage, name: string): Buffer {
	return readFileSync(join(stage.vault, ".obsidian", "plugins", "vaultgpt", name));
}
