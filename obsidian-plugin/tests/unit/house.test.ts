// @vitest-environment node
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ESLint } from "eslint";
import { expect, test } from "vitest";

const HERE = join(import.meta.dirname, "..", "..");
const BUILT = join(HERE, "..", "vaultgpt", "plugin_build");
const PAGE = join(HERE, "..", "vaultgpt", "server", "voice_page");
const read = (...parts: string[]) => readFileSync(join(HERE, ...parts), "utf8");
const sources = readdirSync(join(HERE, "src"), { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".ts"));

test("the committed build is what the sources build, byte for byte", () => {
	const out = mkdtempSync(join(tmpdir(), "vaultgpt-build-"));
	try {
		execFileSync(process.execPath, [join(HERE, "scripts", "build.mjs"), "--out", out]);
		for (const [name, folder] of [["main.js", BUILT], ["manifest.json", BUILT], ["styles.css", BUILT], ["library.js", PAGE]] as const)
			expect(readFileSync(join(out, name)).equals(readFileSync(join(folder, name))), `${name} is stale: npm run build`).toBe(true);
		expect(statSync(join(out, "main.js")).size).toBeLessThan(90_000);
	} finally {
		rmSync(out, { recursive: true });
	}
});

test("obsidian is imported only by the modules that register or show", () => {
	const importers = sources.filter((name) => /from "obsidian"/.test(read("src", name)));
	expect(importers.filter((name) => !/^(?:(?:ui|features)[\\/]|main\.ts$|core\.ts$)/.test(name))).toEqual([]);
});

test("modules are short and say what they do", () => {
	for (const name of sources) {
		const text = read("src", name);
		expect(text.split("\n").length, name).toBeLessThanOrEqual(300);
		expect(text, name).toMatch(/^\/\*\*/);
	}
});

test("nothing reaches for HTML strings, default hotkeys, other hosts, or a lint rule's switch", () => {
	for (const name of sources)
		expect(read("src", name), name).not.toMatch(/innerHTML|outerHTML|insertAdjacentHTML|hotkeys:|https?:\/\/(?!127\.0\.0\.1|www\.w3\.org|\$|\(|\\)|eslint-disable/);
});

test("manifest, versions and package agree", () => {
	for (const name of ["manifest.json", "versions.json"]) expect(read("..", name), `${name} at the root is stale: npm run build`).toBe(read(name));
	const manifest = JSON.parse(read("manifest.json")) as Record<string, string>;
	const versions = JSON.parse(read("versions.json")) as Record<string, string>;
	const { version } = JSON.parse(read("package.json")) as { version: string };
	expect(manifest["version"]).toBe(version);
	expect(Object.keys(manifest).sort()).toEqual(["author", "description", "id", "isDesktopOnly", "minAppVersion", "name", "version"]);
	for (const key of ["id", "name", "description"]) expect(manifest[key]).not.toMatch(/obsidian|plugin/i);
	expect(manifest["description"]).toMatch(/^[A-Z].{0,248}\.$/);
	expect(versions[version]).toBe(manifest["minAppVersion"]);
	expect(read("package-lock.json")).not.toMatch(/"resolved":|https?:\/\/registry/);
});

test("lint reads the manifest and the versions, and refuses what the community's rules do", async () => {
	const eslint = new ESLint({ cwd: HERE });
	const refused = async (name: string, change: (text: string) => string = (text) => text) => {
		const results = await eslint.lintText(change(read(name)), { filePath: join(HERE, name) });
		return results.flatMap(({ messages }) => messages.map(({ ruleId, message }) => ruleId ?? message));
	};
	expect([...(await refused("manifest.json")), ...(await refused("versions.json"))]).toEqual([]);
	expect(await refused("manifest.json", (text) => text.replace('"VaultGPT"', '"VaultGPT plugin"'))).toEqual(["obsidianmd/validate-manifest"]);
	expect(await refused("manifest.json", (text) => text.replace('"author"', '"writer"'))).toEqual(["obsidianmd/validate-manifest", "obsidianmd/validate-manifest"]);
	expect(await refused("versions.json", () => '{ "0.0.9": "1.8.7" }')).toEqual(["house/versions"]);
	expect(await refused("versions.json", (text) => text.replace("1.8.7", "1.8"))).toEqual(["house/versions", "house/versions"]);
}, 60_000); // it loads the whole of the linter
