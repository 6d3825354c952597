import { readFileSync } from "node:fs";
import { join } from "node:path";
import { defineConfig, globalIgnores } from "eslint/config";
import obsidianmd from "eslint-plugin-obsidianmd";
import { parser } from "typescript-eslint";

const read = (name) => JSON.parse(readFileSync(join(import.meta.dirname, name), "utf8"));

/** A JSON file as the one expression that it is: so the rule for manifests wants to see it. */
const expression = {
	meta: { name: "json-as-expression" },
	parseForESLint: (text) => parser.parseForESLint(`(${text})`, { range: true, loc: true, tokens: true, comment: true }),
};

/** versions.json names every release with the oldest Obsidian that it runs in; this one above all. */
const versions = {
	meta: { type: "problem", schema: [] },
	create: (context) => ({
		ExpressionStatement({ expression: node }) {
			const { version, minAppVersion } = read("manifest.json");
			const known = new Map((node.properties ?? []).map(({ key, value }) => [key.value, value.value]));
			const say = (message) => context.report({ node, message });
			for (const word of [...known.keys(), ...known.values()])
				if (!/^\d+\.\d+\.\d+$/.test(String(word))) say(`"${word}" is no version of three numbers.`);
			if (known.get(version) !== minAppVersion) say(`The manifest's ${version} must stand here, with its minAppVersion ${minAppVersion}.`);
			if (read("package.json").version !== version) say(`package.json has another version than the manifest's ${version}.`);
		},
	}),
};

/** Newer than Chromium 106, and unknown to it. JavaScript's own are refused by tsconfig's lib, ES2022. */
const newer = [["AbortSignal", "any"], ["URL", "canParse"], ["URL", "parse"], ["Promise", "try"], ["Promise", "withResolvers"]].map(([object, property]) => ({
	object, property, message: "The oldest engine that Obsidian allows (Chromium 106) has not got it.",
}));

export default defineConfig(
	globalIgnores(["node_modules", "build", "screenshots", "package-lock.json", "tsconfig.json", "scripts", "tests", "*.mts", "*.mjs"]),
	{
		languageOptions: {
			parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
		},
	},
	...obsidianmd.configs.recommended,
	{ files: ["src/**/*.ts"], rules: { "obsidianmd/prefer-active-doc": "error", "no-restricted-properties": ["error", ...newer] } },
	{
		files: ["manifest.json", "versions.json"],
		languageOptions: { parser: expression },
		plugins: { house: { rules: { versions } } },
	},
	{ files: ["manifest.json"], rules: { "obsidianmd/validate-manifest": "error" } },
	{ files: ["versions.json"], rules: { "house/versions": "error" } },
);
