// Bundles src/main.ts and copies what Obsidian needs into the Python package (or --out FOLDER); and for the
// page of one's voice the library that draws the phone's code.
import { build } from "esbuild";
import { builtinModules } from "node:module";
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const here = join(dirname(fileURLToPath(import.meta.url)), "..");
const given = process.argv.indexOf("--out");
const out = given > 0 ? resolve(process.argv[given + 1]) : join(here, "..", "vaultgpt", "plugin_build");
const MOST_BYTES = 90_000;
const OF_PAGE = `export { correction, generate } from "lean-qr";
	export { toSvgPath } from "lean-qr/extras/svg";`;

const { version } = JSON.parse(await readFile(join(here, "manifest.json"), "utf8"));
const { outputFiles } = await build({
	absWorkingDir: here,
	entryPoints: ["src/main.ts"],
	bundle: true,
	write: false,
	format: "cjs",
	platform: "browser",
	target: "chrome106", // of the oldest installer that Obsidian still allows, 1.1.9
	supported: { "dynamic-import": false }, // Obsidian gives Node's modules to require(), not to import()
	treeShaking: true,
	minify: true,
	legalComments: "none",
	logLevel: "warning",
	banner: { js: `/* VaultGPT ${version}. Built from obsidian-plugin/ of the vaultgpt repository, which holds the source. */` },
	external: ["obsidian", "electron", "@codemirror/*", "@lezer/*", ...builtinModules, ...builtinModules.map((name) => `node:${name}`)],
});
const [main] = outputFiles;
if (main.contents.byteLength >= MOST_BYTES) throw new Error(`main.js has ${main.contents.byteLength} bytes; ${MOST_BYTES} is the limit`);
const ofLibrary = (file) => readFile(join(here, "node_modules", "lean-qr", file), "utf8");
const { version: ofQr } = JSON.parse(await ofLibrary("package.json"));
const page = await build({
	absWorkingDir: here,
	stdin: { contents: OF_PAGE, resolveDir: here },
	bundle: true,
	write: false,
	format: "iife",
	globalName: "kit",
	target: "es2022",
	minify: true,
	legalComments: "none",
	banner: { js: `/* With lean-qr ${ofQr}:

${(await ofLibrary("LICENSE")).trim()} */` },
});
await mkdir(out, { recursive: true });
await writeFile(given > 0 ? join(out, "library.js") : join(here, "..", "vaultgpt", "server", "voice_page", "library.js"), page.outputFiles[0].contents);
await writeFile(join(out, "main.js"), main.contents);
for (const name of ["manifest.json", "styles.css"]) await copyFile(join(here, name), join(out, name));
// The community's directory reads these two at the root of the repository.
if (given <= 0) for (const name of ["manifest.json", "versions.json"]) await copyFile(join(here, name), join(here, "..", name));
console.log(`main.js: ${main.contents.byteLength} bytes, in ${out}`);
