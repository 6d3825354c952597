import { defineConfig, globalIgnores } from "eslint/config";
import obsidianmd from "eslint-plugin-obsidianmd";

export default defineConfig(
	globalIgnores(["node_modules", "build", "screenshots", "package-lock.json", "tsconfig.json", "versions.json", "scripts", "tests", "*.mts", "*.mjs"]),
	{
		languageOptions: {
			parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
		},
	},
	...obsidianmd.configs.recommended,
);
