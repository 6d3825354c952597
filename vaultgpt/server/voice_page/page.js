"use strict";
(() => {
	const key = ownKey();
	const $ = (id) => document.getElementById(id);
	const state = { status: null, voices: [], months: {}, curves: null, writing: null };
	const DOING = { read: "reading the vault", load: "loading the base", send: "sending to the other machine", train: "learning", fetch: "fetching from the other machine" };
	const SVG = "http://www.w3.org/2000/svg";

	/** What proves that this page, of this port, asks: it came once, in the address. */
	function ownKey() {
		const given = location.hash.slice(1);
		if (/^[\w-]{40,}$/.test(given)) {
			localStorage.setItem("key", given);
			history.replaceState(null, "", "/");
		}
		return localStorage.getItem("key") ?? "";
	}

	// Asking ------------------------------------------------------------------------------------

	async function answerOf(path, body, signal) {
		const headers = { "X-Vaultgpt-Page": key };
		if (body !== undefined) headers["Content-Type"] = "application/json";
		const how = { method: body === undefined ? "GET" : "POST", headers, signal };
		if (body !== undefined) how.body = JSON.stringify(body);
		let answer;
		try {
			answer = await fetch(path, how);
		} catch (error) {
			if (signal?.aborted) throw error;
			throw new Error("The mirror is not there: its daemon does not answer. Start `vaultgpt serve`, then `vaultgpt open`.");
		}
		if (answer.ok) return answer;
		if (answer.status === 401) throw new Error("This page was closed: run `vaultgpt open` again.");
		throw Object.assign(new Error((await answer.json()).error.message), { status: answer.status });
	}

	const ask = async (path, body) => (await answerOf(path, body)).json();

	/** Server-sent events of an answer, as [name, text]. */
	async function* events(answer) {
		let rest = "";
		const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
		for (let got = await reader.read(); !got.done; got = await reader.read()) {
			const frames = (rest + got.value).split("\n\n");
			rest = frames.pop();
			for (const frame of frames) {
				const part = (name) => new RegExp(`^${name}: ?(.*)$`, "m").exec(frame)?.[1];
				if (part("data") !== undefined) yield [part("event") ?? "message", part("data")];
			}
		}
	}

	// Making ------------------------------------------------------------------------------------

	function made(tag, values = {}, ...children) {
		const element = document.createElement(tag);
		for (const [name, value] of Object.entries(values)) name === "class" || name.includes("-") ? element.setAttribute(name, value) : (element[name] = value);
		element.append(...children);
		return element;
	}

	function drawn(tag, values, ...children) {
		const element = document.createElementNS(SVG, tag);
		for (const [name, value] of Object.entries(values)) element.setAttribute(name, String(value));
		element.append(...children);
		return element;
	}

	/** New children in place of the old; what was folded open stays open. */
	function renew(host, ...children) {
		const open = [...host.querySelectorAll("details")].map((one) => one.open);
		host.replaceChildren(...children);
		[...host.querySelectorAll("details")].forEach((one, at) => (one.open = open[at] ?? false));
	}

	function say(id, text) {
		$(id).textContent = text;
		if ($(id).getAttribute("role") === "alert") $(id).hidden = text === "";
	}

	const many = (count, one, several = `${one}s`) => `${count.toLocaleString()} ${count === 1 ? one : several}`;
	const upper = (text) => text.charAt(0).toUpperCase() + text.slice(1);
	const list = (parts) => parts.filter(Boolean).join(" ");

	// Days, as a person says them ---------------------------------------------------------------

	function dayOf(then, now = new Date()) {
		const midnight = new Date(now.getFullYear(), now.getMonth(), now.getDate());
		const hours = (then - midnight) / 3_600_000;
		if (hours >= -4 && hours < 6 && now.getHours() >= 6) return "last night";
		if (hours >= 24) return hours < 30 ? "tonight" : then.toLocaleDateString([], { weekday: "long" });
		if (hours >= -24) return hours >= 0 ? "today" : "yesterday";
		const year = then.getFullYear() === now.getFullYear() ? {} : { year: "numeric" };
		return then.toLocaleDateString([], { day: "numeric", month: "long", ...year });
	}

	const clock = (then) => then.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

	function learned(voice) {
		const then = new Date(voice.created * 1000);
		const day = dayOf(then);
		if (day === "last night") return `learned ${day}`;
		return `learned ${/^to|^yes/.test(day) ? day : `on ${day}`} at ${clock(then)}`;
	}

	function monthName(month) {
		const [year, number] = month.split("-").map(Number);
		return number ? new Date(year, number - 1, 1).toLocaleDateString([], { month: "long", year: "numeric" }) : month;
	}

	const active = () => state.voices.find((voice) => voice.active);
	const voiceName = (id) => (id === "base" ? "the bare base, which has learned nothing of yours" : `the voice ${learned(state.voices.find((v) => v.id === id) ?? active() ?? { created: Date.now() / 1000 })}`);

	// What is now -------------------------------------------------------------------------------

	async function readStatus() {
		const s = (state.status = await ask("/v1/status"));
		const next = s.next_training;
		const when = next.when ? new Date(next.when * 1000) : null;
		say("now", list([
			`${many(s.words, "word")} in ${many(s.used, "note")}${s.pending_notes ? `, ${s.pending_notes} of them new` : ""}.`,
			s.writes ? `It writes as ${voiceName(s.writes)}.` : "Nothing has been learned yet, so the bare base writes.",
			s.training ? "" : when ? `It learns next ${dayOf(when)} at ${clock(when)}. ${next.why}` : s.paused_round ? next.why : "",
			s.paused ? `Learning is paused: ${s.paused.replace(/\.$/, "")}.` : "",
		]));
		say("trouble", s.problems.join(" "));
		showRound(s.training);
	}

	async function readReport() {
		let report;
		try {
			report = await ask("/v1/report");
		} catch (error) {
			$("sentences").replaceChildren(made("p", {}, error.status === 404 ? "Nothing has been learned yet. “Learn now”, below, makes the first voice." : error.message));
			return;
		}
		showReport(report);
	}

	function showReport(report) {
		const [head, ...said] = report.sentences;
		const own = said.filter((line) => !line.startsWith("  "));
		const rows = said.filter((line) => line.startsWith("  "));
		const name = report.generation ? `The voice ${learned(state.voices.find((v) => v.id === report.generation) ?? { created: report.verdict.at })}, on pages held out from learning:` : head;
		const more = rows.length ? [made("details", {}, made("summary", {}, "By tag and year"), made("ul", {}, ...rows.map((line) => made("li", {}, line.trim()))))] : [];
		renew($("sentences"), made("p", { class: "quiet" }, name), ...own.map((line, at) => made("p", at ? {} : { class: "lead" }, line)), ...more);
		$("measure").hidden = report.voice !== null || report.generation === null;
		const figures = flat({ bits_per_byte: report.bits_per_byte, voice: report.voice, tokens: report.tokens, seconds: report.seconds, device: report.device });
		$("figures").hidden = false;
		$("figure-rows").replaceChildren(...figures.map(([name, value]) => made("tr", {}, made("th", { scope: "row" }, name), made("td", { class: "n" }, value))));
	}

	function flat(value, name = "") {
		if (value === null || value === undefined || Array.isArray(value)) return [];
		if (typeof value === "object") return Object.entries(value).flatMap(([key, one]) => flat(one, name ? `${name} · ${key}` : key));
		return [[name.replaceAll("_", " "), typeof value === "number" ? String(Math.round(value * 1e4) / 1e4) : String(value)]];
	}

	async function measure() {
		$("measure").disabled = true;
		say("measuring", "Measuring; this takes about a minute.");
		try {
			showReport(await ask("/v1/report", {}));
			say("measuring", "");
		} catch (error) {
			say("measuring", error.message);
		}
		$("measure").disabled = false;
	}

	// Try it ------------------------------------------------------------------------------------

	const wished = () => ({ tags: $("tags").value.split(/[\s,]+/).map((tag) => tag.replace(/^#/, "")).filter(Boolean), date: $("year").value || null });

	function labelOf({ tags, date }, voice) {
		const under = [tags.map((tag) => `#${tag}`).join(" "), date ?? ""].filter(Boolean).join(" · ");
		return `${under ? `Under ${under}` : "Under no tag and no date"}, as ${voice}`;
	}

	function relabel() {
		const writes = state.status?.writes ?? "base";
		say("label", `${labelOf(wished(), voiceName(writes))}.`);
	}

	async function write(event) {
		event.preventDefault();
		const prompt = $("text").value;
		const wish = wished();
		const body = { prompt, stream: true, n: Number($("count").value), vaultgpt: { ...wish, length: $("length").value } };
		if ($("seed").value.trim()) body.seed = Number($("seed").value);
		for (const name of ["voice", "tag"]) if ($(`${name}-strength`).value) body.vaultgpt[name === "tag" ? "tag_strength" : name] = Number($(`${name}-strength`).value);
		const texts = Array.from({ length: body.n }, () => made("span"));
		$("written").replaceChildren(...texts.map((text) => made("blockquote", {}, made("span", { class: "given" }, prompt), text)));
		const halt = (state.writing = new AbortController());
		busy(true);
		try {
			await stream(await answerOf("/v1/completions", body, halt.signal), texts, wish);
		} catch (error) {
			if (!halt.signal.aborted) say("refused", error.message);
		}
		busy(false);
		say("said", texts.map((text) => text.textContent).join("\n"));
	}

	async function stream(answer, texts, wish) {
		for await (const [name, data] of events(answer)) {
			if (data === "[DONE]") break;
			const value = JSON.parse(data);
			if (name === "error") throw new Error(value.error.message);
			for (const choice of value.choices) texts[choice.index].textContent += choice.text;
			$("written").hidden = false;
			const told = value.vaultgpt;
			if (told?.generation) say("label", `${labelOf({ tags: told.tags, date: wish.date }, voiceName(told.generation))}.`);
		}
		if (texts.every((text) => !text.textContent)) say("refused", "It had nothing to add here. Try another seed.");
	}

	function busy(on) {
		if (on) say("refused", "");
		if (on) say("said", "");
		$("written").setAttribute("aria-busy", String(on));
		$("write").disabled = on;
		$("halt").hidden = !on;
	}

	// Voices ------------------------------------------------------------------------------------

	async function readVoices() {
		state.voices = (await ask("/v1/generations")).generations;
		const rows = state.voices.map(voiceRow);
		const older = rows.splice(8);
		if (older.length) rows.push(made("li", { class: "voice" }, made("details", {}, made("summary", {}, `${many(older.length, "older voice")}`), made("ol", { class: "plain" }, ...older))));
		renew($("voice-list"), ...rows);
		const before = state.voices.find((voice) => active() && voice.id < active().id && voice.promoted && !voice.barred);
		$("back-row").hidden = !before;
		$("back").onclick = () => activate(before);
		if (before) say("back-means", `to the voice ${learned(before)}. Nothing is lost: every voice below stays, and you can come back to it.`);
	}

	function voiceRow(voice) {
		const name = made("h3", {}, upper(learned(voice)));
		if (voice.active) name.append(made("span", { class: "badge" }, "writes now"));
		if (!voice.promoted) name.append(made("span", { class: "badge not" }, "not taken"));
		const from = `${many(voice.words, "word")} learned, ${voice.kind === "fresh" ? "the whole vault anew" : "on top of the voice before"}${voice.machine ? `, on ${voice.machine}` : ""}; ${voice.id}.`;
		const told = made("div", {}, name, made("p", {}, voice.why || ""), made("p", { class: "quiet" }, voice.barred ? "It learned a note that you had forgotten, so it never writes again." : from));
		const row = made("div", { class: "row" }, told);
		if (!voice.active && !voice.barred) row.append(made("button", { type: "button", onclick: () => activate(voice), "aria-label": `Write in the voice ${learned(voice)}` }, "Write in this voice"));
		return made("li", { class: "voice" }, row);
	}

	async function activate(voice) {
		if (!voice.promoted && !confirm(`This voice was not taken: ${voice.why} Write in it all the same?`)) return;
		try {
			await ask(`/v1/generations/${voice.id}/activate`, {});
			await everything();
			$("voice-list").focus();
			say("verdict", `From now on it writes in the voice ${learned(voice)}.`);
		} catch (error) {
			say("verdict", error.message);
		}
	}

	async function learn() {
		$("learn").disabled = true;
		say("verdict", "");
		try {
			const begun = await ask("/v1/train", {});
			showRound({ phase: "read", fraction: 0 });
			if (begun.takes_s !== null) say("verdict", begun.why);
		} catch (error) {
			$("learn").disabled = false;
			say("verdict", error.message);
		}
	}

	function showRound(progress) {
		const on = Boolean(progress);
		for (const id of ["stop", "bar"]) $(id).hidden = !on;
		$("learn").hidden = on;
		$("learn").disabled = false;
		$("bar").value = progress?.fraction ?? 0;
		say("round", on ? `${upper(DOING[progress.phase] ?? "measuring")}… ${Math.round(100 * (progress.fraction ?? 0))} %` : "Reads what is new since it last learned. It goes on by itself at night; a voice that is no better is not taken.");
	}

	/** While the tab is seen: a browser has six connections to a daemon for all tabs together. */
	async function listen() {
		for (let wait_s = 1; ; wait_s = Math.min(30, 2 * wait_s)) {
			const hear = new AbortController();
			const leave = () => document.hidden && hear.abort();
			document.addEventListener("visibilitychange", leave);
			try {
				for await (const [name, data] of events(await answerOf("/v1/events", undefined, hear.signal))) {
					wait_s = 1;
					heard(name, JSON.parse(data));
				}
			} catch (error) {
				if (!hear.signal.aborted) say("trouble", error.message);
			}
			document.removeEventListener("visibilitychange", leave);
			await (document.hidden ? new Promise((seen) => document.addEventListener("visibilitychange", seen, { once: true })) : new Promise((later) => setTimeout(later, 1000 * wait_s)));
			await everything();
		}
	}

	let last = {};
	function heard(name, data) {
		if (name === "started") showRound((last = { phase: "read", fraction: 0 }));
		if (name === "progress") showRound((last = { ...last, ...data }));
		if (name === "say") say("verdict", data.text);
		if (name === "error") say("verdict", data.message);
		if (name === "verdict") say("verdict", data.verdict.why);
		if (["verdict", "error", "swap", "scan"].includes(name)) void everything();
	}

	// Figures, drawn ----------------------------------------------------------------------------

	async function readPage() {
		const page = await ask("/v1/page");
		state.months = page.months;
		state.curves = page;
		showCurves(page);
		showTags();
		$("left-list").replaceChildren(...(page.left_out.length ? page.left_out.map((row) => made("li", {}, `${row.notes.toLocaleString()} ${row.why}`)) : [made("li", {}, "Nothing: every note is learned from.")]));
	}

	function showCurves({ held_out, new_notes }) {
		if (!held_out.length) return void renew($("curve"), made("p", {}, "A curve begins with the first voice."));
		const base = held_out.at(-1).base;
		const said = `How much of each letter it could not foretell on pages held out from learning, voice by voice: lower is better.${base ? ` The bare base, without your words, stands at ${base.toFixed(2)}.` : ""}`;
		const parts = [made("p", {}, said), curve(held_out, dayNamed, "your voice"), figures(held_out, "Voice")];
		if (new_notes.length > 1) parts.push(made("p", {}, "The same of each round’s new pages, before they were learned: how well the voice of the day before knew what you would write."), curve(new_notes, (name) => name, "the voice before"), figures(new_notes, "Round"));
		renew($("curve"), ...parts);
	}

	function figures(rows, first) {
		const head = [first, "Bits per byte", "Its base"].map((text) => made("th", { scope: "col" }, text));
		const cells = (row) => [row.name, row.mirror.toFixed(3), row.base?.toFixed(3) ?? ""].map((text, at) => made("td", at ? { class: "n" } : {}, text));
		const table = made("table", {}, made("thead", {}, made("tr", {}, ...head)), made("tbody", {}, ...rows.map((row) => made("tr", {}, ...cells(row)))));
		return made("details", {}, made("summary", {}, "The figures"), made("div", { class: "wide" }, table));
	}

	function curve(rows, dayed, label) {
		const width = Math.max(280, Math.min(640, $("curve").clientWidth));
		const [height, left, right, foot] = [200, 44, 104, 28];
		const values = rows.flatMap((row) => [row.mirror, row.base]).filter((value) => value);
		const [low, high] = [Math.min(...values), Math.max(...values)];
		const pad = 0.12 * (high - low || 1);
		const y = (value) => 8 + (height - foot - 8) * (1 - (value - low + pad) / (high - low + 2 * pad));
		const x = (at) => left + 8 + (at / Math.max(1, rows.length - 1)) * (width - left - right - 16);
		const shown = rows.length > 1 ? rows : [rows[0], rows[0]]; // of one voice, the base's line all the same
		const line = (name) => shown.map((row, at) => (row[name] ? `${x(at).toFixed(1)},${y(row[name]).toFixed(1)}` : "")).filter(Boolean).join(" ");
		const text = (px, py, words, anchor = "start") => drawn("text", { x: px, y: py, "text-anchor": anchor }, words);
		const grid = [low, (low + high) / 2, high].flatMap((value) => [drawn("line", { class: "grid", x1: left, x2: width - right, y1: y(value), y2: y(value) }), text(left - 8, y(value) + 4, value.toFixed(2), "end")]);
		const dots = rows.map((row, at) => drawn("circle", { class: `dot${row.name === active()?.id ? " now" : ""}`, cx: x(at), cy: y(row.mirror), r: 4 }, drawn("title", {}, `${row.name}: ${row.mirror.toFixed(3)}`)));
		const end = rows.at(-1);
		const apart = end.base ? Math.max(0, 7 - Math.abs(y(end.mirror) - y(end.base)) / 2) * Math.sign(y(end.mirror) - y(end.base) || 1) : 0;
		const ends = [text(width - right + 10, y(end.mirror) + 4 + apart, label)];
		if (end.base) ends.push(text(width - right + 10, y(end.base) + 4 - apart, "the base"));
		const days = rows.map((row, at) => [row, at]).filter(([, at]) => at === 0 || at === rows.length - 1).map(([row, at]) => text(x(at), height - 6, dayed(row.name), at ? "end" : "start"));
		const lines = [drawn("polyline", { class: "base", points: line("base") }), drawn("polyline", { class: "mirror", points: rows.length > 1 ? line("mirror") : "" })];
		const title = `Bits per byte, ${label}: ${rows[0].mirror.toFixed(2)} at first, ${end.mirror.toFixed(2)} now.`;
		return drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title }, ...grid, ...lines, ...dots, ...ends, ...days);
	}

	function dayNamed(id) {
		const voice = state.voices.find((one) => one.id === id);
		return voice ? dayOf(new Date(voice.created * 1000)) : id;
	}

	function showTags() {
		const words = {};
		for (const tags of Object.values(state.months)) for (const [tag, count] of Object.entries(tags)) words[tag] = (words[tag] ?? 0) + count;
		const tags = Object.keys(words).filter(Boolean).sort((a, b) => words[b] - words[a]);
		const years = yearsWritten();
		fill($("of-tag"), ["", ...tags.slice(0, 40)], (tag) => (tag ? `#${tag}` : "every tag and none"));
		fill($("year"), ["", ...years], (year) => year || "no date");
		const months = Object.keys(state.months).filter(Boolean).reverse();
		fill($("of-month"), months, monthName);
		$("seek").disabled = months.length === 0;
		$("known-tags").replaceChildren(...tags.slice(0, 40).map((value) => made("option", { value })));
		showMonths();
		relabel();
	}

	function fill(select, values, named) {
		const chosen = select.value;
		select.replaceChildren(...values.map((value) => made("option", { value }, named(value))));
		if (values.includes(chosen)) select.value = chosen;
	}

	function showMonths() {
		const tag = $("of-tag").value;
		const words = (month) => state.months[month]?.[tag] ?? 0;
		const years = yearsWritten();
		const most = Math.max(1, ...Object.keys(state.months).filter((month) => month.length === 7).map(words));
		const names = Array.from({ length: 12 }, (_, at) => new Date(2000, at, 1).toLocaleDateString([], { month: "short" }));
		const head = made("tr", {}, ...["Year", ...names, "All"].map((name) => made("th", { scope: "col" }, name)));
		const row = (year) => {
			const months = names.map((_, at) => words(`${year}-${String(at + 1).padStart(2, "0")}`));
			const sum = months.reduce((a, b) => a + b, words(year));
			return made("tr", {}, made("th", { scope: "row" }, year), ...months.map((count) => made("td", { "data-heat": count ? String(Math.ceil((4 * count) / most)) : "0" }, count ? brief(count) : "")), made("td", { class: "sum" }, sum ? brief(sum) : ""));
		};
		$("months").replaceChildren(made("thead", {}, head), made("tbody", {}, ...years.map(row)));
		$("months").hidden = !years.length;
		say("undated", words("") ? `${many(words(""), "word")} without a date.` : "");
	}

	/** Years in which something was written, the last first. */
	const yearsWritten = () => [...new Set(Object.keys(state.months).map((month) => month.slice(0, 4)).filter(Boolean))].sort().reverse();
	const brief = (count) => (count < 1000 ? String(count) : `${(count / 1000).toFixed(count < 10_000 ? 1 : 0)}k`);

	async function readShares() {
		const months = Object.entries((await ask("/v1/provenance")).months).filter(([, share]) => share.mirror + share.edited).reverse();
		const row = ([month, { words, mirror, edited }]) => {
			const part = Math.min(1, (mirror + edited) / Math.max(1, words));
			const said = `${many(mirror + edited, "word")} of ${words.toLocaleString()} (${Math.round(100 * part)} %) came from the mirror${edited ? `, ${edited.toLocaleString()} of them changed by you` : ""}.`;
			const bar = drawn("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" }, drawn("rect", { class: "whole", width: 100, height: 10 }), drawn("rect", { class: "part", width: 100 * part, height: 10 }));
			return made("div", { class: "share" }, made("strong", {}, month ? monthName(month) : "Without a date"), made("div", {}, bar, made("span", { class: "quiet" }, said)));
		};
		$("shares").replaceChildren(...(months.length ? months.map(row) : [made("p", {}, "All yours: nothing that the mirror wrote was taken into a note.")]));
	}

	// Turns of phrase, and the blind test -------------------------------------------------------

	async function lookForTurns() {
		$("look").disabled = true;
		say("looking", "Reading…");
		try {
			const { refrains, words } = await ask("/v1/refrains");
			$("turn-list").replaceChildren(...refrains.map(({ text, entries }) => made("li", { class: "turn" }, made("q", {}, text), made("span", { class: "quiet" }, `${entries} times`))));
			say("looking", refrains.length ? `In the newest ${many(words, "word")}.` : `None in ${many(words, "word")}: no turn of four words or more stands in three notes.`);
		} catch (error) {
			say("looking", error.message);
		}
		$("look").disabled = false;
	}

	const MOST_SHOWN = 5;

	/** A month's sentences, by the voice beside the base it was learned on. */
	async function lookForSurprises() {
		$("seek").disabled = true;
		for (const id of ["least", "most"]) $(id).replaceChildren();
		$("surprise-lists").hidden = true;
		try {
			const { notes } = await ask(`/v1/month?month=${$("of-month").value}`);
			const found = [];
			for (const [at, { name, text, tags, date }] of notes.entries()) {
				say("seeking", `Reading… ${at + 1} of ${notes.length}`);
				const { refused, sentences } = await ask("/v1/likeness", { text, tags, date: date || null });
				if (refused?.code === "nothing learned") throw new Error(refused.why);
				found.push(...sentences.map(({ start, end, gain }) => ({ text: text.slice(start, end), gain, name })));
			}
			found.sort((a, b) => a.gain - b.gain);
			const half = Math.min(MOST_SHOWN, Math.floor(found.length / 2));
			$("least").replaceChildren(...found.slice(0, half).map(sentenceRow));
			$("most").replaceChildren(...found.slice(-half).reverse().map(sentenceRow));
			$("surprise-lists").hidden = half === 0;
			say("seeking", half ? `Of ${many(found.length, "sentence")} in ${many(new Set(found.map(({ name }) => name)).size, "note")}.` : "There are too few sentences in that month to compare.");
		} catch (error) {
			say("seeking", error.message);
		}
		$("seek").disabled = false;
	}

	function sentenceRow({ text, gain, name }) {
		const share = Math.abs(100 * gain).toFixed(0);
		const said = share === "0" ? "As surprising to your voice as to its base" : `${share} % ${gain > 0 ? "less" : "more"} surprising to your voice than to its base`;
		return made("li", { class: "turn" }, made("q", {}, text), made("span", { class: "quiet" }, `${said}; ${name}`));
	}

	let dealt = [];
	async function deal() {
		$("deal").disabled = true;
		for (const id of ["found", "dealing"]) say(id, "");
		$("blind-form").hidden = true;
		try {
			const { pages } = await ask("/v1/blind");
			dealt = [];
			for (const page of pages) {
				say("dealing", `Writing… ${dealt.length + 1} of ${pages.length}`);
				dealt.push({ ...page, own: page.rest !== null, rest: page.rest ?? (await goneOn(page)) });
			}
			const length = Math.min(...dealt.map(({ rest }) => wordsIn(rest)));
			$("blind-list").replaceChildren(...dealt.map((page, at) => blindRow(page, at, length)));
			$("blind-form").hidden = false;
			$("answer").hidden = false;
			$("answer").disabled = true;
			say("dealing", "Choose two.");
			$("blind-list").querySelector("input").focus();
		} catch (error) {
			say("dealing", error.message);
		}
		$("deal").disabled = false;
	}

	const wordsIn = (text) => text.trim().split(/\s+/).length;

	/** Of three tries the first with words enough to be judged by, else the longest: an author also ends. */
	async function goneOn({ opening, tags, date }) {
		let longest = "";
		for (let tries = 0; tries < 3 && wordsIn(longest) < 20; tries++) {
			const answer = await ask("/v1/completions", { prompt: opening, max_tokens: 90, vaultgpt: { tags, date, length: "tokens" } });
			const { text } = answer.choices[0];
			if (wordsIn(text) > wordsIn(longest)) longest = text;
		}
		return longest;
	}

	/** All of one length, which else would tell. */
	function blindRow({ opening, rest }, at, length) {
		const shown = new RegExp(`^(?:\\s*\\S+){0,${length}}`).exec(rest)[0];
		const text = made("span", {}, made("span", { class: "given" }, opening), `${shown.replace(/[\s.,;:!?]+$/, "")} …`);
		return made("li", { class: "blind" }, made("label", {}, made("input", { type: "checkbox", name: "mine", value: String(at), onchange: chosen }), text));
	}

	const blindBoxes = () => [...$("blind-list").querySelectorAll("input")];

	function chosen() {
		const boxes = blindBoxes();
		const two = boxes.filter((box) => box.checked).length === 2;
		for (const box of boxes) box.disabled = two && !box.checked;
		$("answer").disabled = !two;
	}

	function judge(event) {
		event.preventDefault();
		const boxes = blindBoxes();
		const right = boxes.filter((box, at) => box.checked && dealt[at].own).length;
		for (const [at, box] of boxes.entries()) {
			box.disabled = true;
			box.nextSibling.prepend(made("strong", dealt[at].own ? { class: "yours" } : {}, dealt[at].own ? "Yours" : "The mirror’s"));
		}
		$("answer").hidden = true;
		localStorage.setItem("blind", JSON.stringify([...tries(), { at: Date.now(), right }].slice(-1000)));
		say("found", `You found ${right} of your two.`);
		showScore();
		$("deal").focus();
	}

	const tries = () => JSON.parse(localStorage.getItem("blind") ?? "[]");

	function showScore() {
		const done = tries();
		const part = (some) => `${some.reduce((sum, { right }) => sum + right, 0)} of ${2 * some.length}`;
		const chance = (some) => Math.round(0.8 * some.length * 10) / 10;
		if (!done.length) return;
		const lately = done.length > 5 ? ` Of the last five: ${part(done.slice(-5))}.` : "";
		say("score", `In ${many(done.length, "test")}, the first ${dayOf(new Date(done[0].at))}, you found ${part(done)}; guessing finds ${chance(done)}.${lately} The nearer to guessing, the more it sounds like you.`);
	}

	// The phone's code --------------------------------------------------------------------------

	const CODE_MS = 120_000;
	const EDGE = 4; // modules of white paper around a code, by its standard
	let hiding;

	function hideCode() {
		clearTimeout(hiding);
		$("code").hidden = true;
		for (const id of ["code-drawn", "code-address", "code-token"]) $(id).replaceChildren();
		$("pair").textContent = "Show the code";
		$("pair").setAttribute("aria-expanded", "false");
	}

	async function showCode() {
		say("pairing", "");
		if (!$("code").hidden) return hideCode();
		try {
			const { link, address, token } = await ask("/v1/phone", {});
			const drawing = kit.generate(link, { minCorrectionLevel: kit.correction.M });
			const size = drawing.size + 2 * EDGE;
			const paper = drawn("rect", { class: "paper", x: -EDGE, y: -EDGE, width: size, height: size });
			$("code-drawn").replaceChildren(drawn("svg", { viewBox: `${-EDGE} ${-EDGE} ${size} ${size}`, role: "img", "aria-label": "The code that pairs your phone" }, paper, drawn("path", { d: kit.toSvgPath(drawing) })));
			$("code-address").textContent = address;
			$("code-token").textContent = token;
			$("code").hidden = false;
			$("pair").textContent = "Hide the code";
			$("pair").setAttribute("aria-expanded", "true");
			hiding = setTimeout(hideCode, CODE_MS);
		} catch (error) {
			say("pairing", error.message);
		}
	}

	async function everything() {
		try {
			await readVoices();
			await readStatus();
			await Promise.all([readReport(), readPage(), readShares()]);
		} catch (error) {
			say("trouble", error.message);
		}
	}

	$("try-form").onsubmit = (event) => void write(event);
	$("try-form").onchange = relabel;
	$("halt").onclick = () => state.writing?.abort();
	$("measure").onclick = () => void measure();
	$("learn").onclick = () => void learn();
	$("stop").onclick = () => void ask("/v1/train/cancel", {}).catch((error) => say("verdict", error.message));
	$("of-tag").onchange = showMonths;
	$("look").onclick = () => void lookForTurns();
	$("seek").onclick = () => void lookForSurprises();
	$("deal").onclick = () => void deal();
	$("pair").onclick = () => void showCode();
	$("blind-form").onsubmit = judge;
	let width = innerWidth;
	addEventListener("resize", () => {
		if (innerWidth === width || !state.curves) return;
		width = innerWidth;
		showCurves(state.curves); // drawn for the width there is: its letters keep their size
	});
	showScore();
	void everything().then(listen);
})();
