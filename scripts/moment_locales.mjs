// Makes vaultgpt/vault/moment.json: month and weekday names and long-date formats of every locale
// of moment.js, by which Obsidian names daily notes. Run it as
//
//   npm install --prefix /tmp/moment moment@2.30.1
//   node scripts/moment_locales.mjs /tmp/moment/node_modules/moment > vaultgpt/vault/moment.json
//
// and with --names at its end for the names that the tests expect (tests/vault/moment_names.json).
// Names are asked of moment itself, in each context in which a format may use them. moment is under
// the MIT licence, Copyright (c) JS Foundation and other contributors; the file says so too.

import { readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const place = resolve(process.argv[2]);
const require = createRequire(import.meta.url);
const moment = require(place);
const files = readdirSync(join(place, "locale"));
const names = ["en", ...files.map((file) => file.replace(".js", ""))].sort();
const tokens = ["LT", "LTS", "L", "LL", "LLL", "LLLL", "l", "ll", "lll", "llll"];
// Slavic and Baltic names change beside a day, and in some locales within brackets or after "[во]".
const contexts = ["MMMM", "D MMMM", "MMMM YYYY", "D MMMM YYYY", "dddd", "D dddd", "[x] dddd"];
const unique = (words) => [...new Set(words.map((word) => word.normalize("NFC").toLowerCase()))];

if (process.argv[3] === "--names") {
	const forms = ["L", "LL", "ll", "LLLL", "DD.MM.yyyy", "D MMMM YYYY", "dddd, D MMMM YYYY"];
	forms.push("MMM D, YYYY", "Do MMMM YYYY", "YYYY-MM-DD ddd", "D. MMM YY", "YYYY/MM-MMMM/DD dddd");
	const made = {};
	for (const form of forms) {
		made[form] = {};
		for (const name of names) {
			if (name !== "en") require(join(place, "locale", `${name}.js`));
			const days = ["2021-03-14", "2019-11-05"].map((day) => [
				day,
				moment.utc(day).locale(name).format(form).normalize("NFC"),
			]);
			// Japanese counts "yyyy" in eras: such a name holds no year.
			if (name !== "ja" || !form.includes("yyyy"))
				made[form][name] = Object.fromEntries(days);
		}
	}
	process.stdout.write(`${JSON.stringify(made)}\n`);
	process.exit(0);
}

const locales = {};
for (const name of names) {
	if (name !== "en") require(join(place, "locale", `${name}.js`));
	moment.locale(name);
	const of = moment.localeData(name);
	const formats = Object.fromEntries(tokens.map((t) => [t, of.longDateFormat(t).normalize("NFC")]));
	const all = [...contexts, ...Object.values(formats)];
	const months = [...Array(12).keys()].map((month) => {
		const day = moment.utc([2021, month, 14]);
		return unique(all.flatMap((c) => [of.months(day, c), of.monthsShort(day, c)]));
	});
	const weekdays = [...Array(7).keys()].map((number) => {
		const day = moment.utc([2021, 2, 1 + number]); // the first of March 2021 is a Monday
		return unique(
			all.flatMap((c) => [of.weekdays(day, c), of.weekdaysShort(day), of.weekdaysMin(day)]),
		);
	});
	locales[name] = { months, weekdays, formats };
}
const about = {
	made_by: "scripts/moment_locales.mjs",
	moment: moment.version,
	licence: "MIT, Copyright (c) JS Foundation and other contributors, https://momentjs.com",
};
process.stdout.write(`${JSON.stringify({ about, locales })}\n`);
