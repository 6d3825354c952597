// Real Obsidian, the oldest and the newest version, beside the real daemon. Needs a display (xvfb)
// and the network once, to download Obsidian. Not part of `make test`.
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { Daemon } from "../browser/daemon.ts";
import { makeStage, vaultgpt, type Stage } from "../browser/stage.ts";

// The launcher's workers read this file too, and must not train again: they inherit the folder.
process.env["VAULTGPT_STAGE"] ??= mkdtempSync(path.join(tmpdir(), "vaultgpt-obsidian-"));
const stage: Stage = await makeStage();
process.env["VAULTGPT_HOME"] = stage.home; // Obsidian inherits it, and finds the daemon by it
let daemon: Daemon | null = null;

const versions = [
	["earliest", "earliest"],
	["latest", "latest"],
];

export const config: WebdriverIO.Config = {
	runner: "local",
	framework: "mocha",
	specs: ["./specs/**/*.e2e.ts"],
	maxInstances: 1,
	capabilities: versions.map(([browserVersion, installerVersion]) => ({
		browserName: "obsidian",
		browserVersion,
		"wdio:obsidianOptions": {
			installerVersion,
			plugins: [path.join(stage.vault, ".obsidian", "plugins", "vaultgpt")],
			vault: stage.vault,
			copy: false, // the daemon knows the vault by its realpath
		},
	})),
	services: ["obsidian"],
	reporters: ["obsidian"],
	cacheDir: path.resolve(".obsidian-cache"),
	mochaOpts: { ui: "bdd", timeout: 120_000 },
	logLevel: "warn",
	onPrepare: async () => {
		const token = (await vaultgpt(stage.home, "token", stage.vault)).trim();
		daemon = await Daemon.start(stage, token);
	},
	onComplete: async () => {
		await daemon?.kill();
	},
};
