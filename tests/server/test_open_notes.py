"""A note in place of a prompt: the daemon reads it, answers its label, shapes what it writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.server.conftest import Api
from tests.server.test_completions import chunks
from vaultgpt.mirror.engine import Engine
from vaultgpt.options import with_option
from vaultgpt.settings import Mirror, Rules
from vaultgpt.tasks.schemas import CompletionRequest, to_prompt
from vaultgpt.vault.at_cursor import read_editor
from vaultgpt.wire import Piece, Usage

PATH = "Dreams/2021-06-19 Lanes.md"
NOTE = "---\ntags: [dream]\n---\n# Lanes\n\nLast night I was¦ in the pool"
VOICE = {"tags": ["dream"], "date": "2021-06", "title": "Lanes"}
FREE = {
    "refused": None,
    "lead": "",
    "line_prefix": "",
    "one_line": False,
    "skip": 0,
    "warning": None,
}


def opened(marked: str = NOTE, path: str | None = PATH, **more: Any) -> dict[str, Any]:
    """`vaultgpt.note` of a text with its cursor at `¦`, counted as JavaScript counts."""
    at = marked.index("¦") if "¦" in marked else len(marked)
    cursor = len(marked[:at].encode("utf-16-le")) // 2
    return {"path": path, "text": marked.replace("¦", ""), "cursor": cursor, **more}


async def test_the_daemon_cuts_the_note_and_answers_its_label(api: Api) -> None:
    status, body, _ = await api.post("/v1/completions", {"vaultgpt": {"note": opened()}})
    assert status == 200
    prompt = api.service.prompts[0]
    assert (prompt.text, prompt.suffix) == ("Last night I was", " in the pool")
    assert (prompt.tags, prompt.date, prompt.title) == (("dream",), "2021-06", "Lanes")
    assert body["vaultgpt"]["label"] == {**VOICE, **FREE}
    assert body["vaultgpt"]["tags"] == ["dream"]
    assert api.service.emitted == [" and then it rained."]


async def test_a_stream_says_the_label_first_and_last(api: Api) -> None:
    _, text, _ = await api.post("/v1/completions", {"stream": True, "vaultgpt": {"note": opened()}})
    *parts, done = chunks(text)
    assert done == "[DONE]" and parts[0]["vaultgpt"] == {"label": {**VOICE, **FREE}}
    assert parts[-1]["vaultgpt"]["label"] == {**VOICE, **FREE}
    assert parts[-1]["vaultgpt"]["generation"] == "g000001"


async def test_warm_answers_it_too_and_label_answers_it_without_a_worker(api: Api) -> None:
    for route, answer in (("warm", {"cached_tokens": 4}), ("label", {})):
        status, body, _ = await api.post(f"/v1/{route}", {"vaultgpt": {"note": opened()}})
        assert (status, body) == (200, {**answer, "label": {**VOICE, **FREE}})
    assert len(api.service.prompts) == 1 and not api.service.emitted
    assert (await api.post("/v1/label", {"prompt": "x"}))[0] == 400


@pytest.mark.parametrize("lead", ["a😀 ", "é", "", "😀😀"])
async def test_the_cursor_is_counted_in_utf_16_units(api: Api, lead: str) -> None:
    note = opened(f"{lead}One😀¦ two")
    assert (await api.post("/v1/completions", {"vaultgpt": {"note": note}}))[0] == 200
    assert api.service.prompts[0].text == f"{lead}One😀"
    await api.post(
        "/v1/completions", {"vaultgpt": {"note": {**note, "cursor": note["cursor"] - 1}}}
    )
    assert api.service.prompts[1].text == f"{lead}One", "within the pair: before it"


async def test_what_a_request_says_wins_over_the_note_and_the_note_over_the_wish(api: Api) -> None:
    own = "---\ntags: [a]\nvaultgpt: {length: page, temperature: 0.5}\n---\nx"
    ours = {"note": opened(own, length="sentence")}
    await api.post("/v1/completions", {"vaultgpt": ours})
    await api.post(
        "/v1/completions",
        {
            "temperature": 1.5,
            "vaultgpt": {**ours, "tags": [], "date": None, "title": "T", "length": "paragraph"},
        },
    )
    await api.post("/v1/completions", {"vaultgpt": {"note": opened(length="sentence")}})
    first, second, third = api.service.prompts
    assert (first.length, first.sampling.temperature, first.tags) == ("page", 0.5, ("a",))
    assert (second.length, second.sampling.temperature) == ("paragraph", 1.5)
    assert (second.tags, second.date, second.title) == ((), None, "T")
    assert third.length == "sentence" and first.date == "2021-06"


@pytest.mark.parametrize(
    ("note", "code", "why"),
    [
        (opened("---\nvaultgpt: false\n---\nx"), "vaultgpt: false", "vaultgpt: false"),
        (opened("---\nvaultgpt: false\nhalf: [open\n---\nx"), "vaultgpt: false", "front matter"),
        (opened("A #private thought"), "tag", "#private"),
        (opened("```\nco¦de\n```"), "cursor in code", "The cursor is in code"),
        (opened("---\ntags: a¦\n---\n"), "cursor in front_matter", "properties"),
    ],
)
async def test_a_refusal_tells_its_reason_and_nothing_of_the_note(
    api: Api, note: dict[str, Any], code: str, why: str
) -> None:
    for stream in (False, True):
        status, body, _ = await api.post(
            "/v1/completions", {"stream": stream, "vaultgpt": {"note": note}}
        )
        assert (status, body["error"]["code"]) == (403, code)
        assert why in body["error"]["message"] and "half" not in json.dumps(body)
    for route in ("warm", "label"):
        status, body, _ = await api.post(f"/v1/{route}", {"vaultgpt": {"note": note}})
        assert status == 200 and body["label"]["refused"]["code"] == code
        assert why in body["label"]["refused"]["why"]
    assert not api.service.prompts


async def test_the_rules_hold_for_paths_and_for_tags_that_are_asked_for(api: Api) -> None:
    for path, status in (("../out.md", 403), ("/etc/a.md", 403), ("a.txt", 404), (None, 200)):
        assert (await api.post("/v1/label", {"vaultgpt": {"note": opened(path=path)}}))[0] == status
    ours = {"note": opened(), "tags": ["private"]}
    assert (await api.post("/v1/completions", {"vaultgpt": ours}))[0] == 403
    api.service.settings = with_option(api.service.settings, "rules.exclude", "Dreams/")
    assert (await api.post("/v1/completions", {"vaultgpt": {"note": opened()}}))[0] == 403


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": "x", "vaultgpt": {"note": opened()}},
        {"vaultgpt": {"note": opened(), "path": "a.md"}},
        {"vaultgpt": {"note": opened(cursor=-1)}},
        {"vaultgpt": {"note": {"text": "x"}}},
        {"vaultgpt": {"note": opened(colour="red")}},
    ],
)
async def test_a_wrong_note_is_400(api: Api, body: Any) -> None:
    assert (await api.post("/v1/completions", body))[0] == 400


async def test_a_cursor_beyond_the_text_is_at_its_end(api: Api) -> None:
    await api.post("/v1/completions", {"vaultgpt": {"note": opened(cursor=10_000)}})
    assert api.service.prompts[0].text == "Last night I was in the pool"


@pytest.mark.parametrize(
    ("marked", "pieces", "text", "plain"),
    [
        ("> I woke¦", [" and", "\nit", "\n\nrained"], " and\n> it\n>\n> rained", None),
        ("## Evening¦", ["It", " rained."], "\n\nIt rained.", "It rained."),
        ("I woke.¦", ["It", " rained."], " It rained.", "It rained."),
        ("- one¦", [" more\n", "- two"], " more\n- two", None),
        ("| a¦ |", [" b", "|"], " b", None),
    ],
)
async def test_the_text_comes_as_its_place_asks_and_is_kept_as_it_was_written(
    api: Api, marked: str, pieces: list[str], text: str, plain: str | None
) -> None:
    last = len(pieces) - 1
    api.service.pieces = [Piece(0, p, "stop" if n == last else None) for n, p in enumerate(pieces)]
    body = {"vaultgpt": {"note": opened(marked)}}
    _, whole, _ = await api.post("/v1/completions", body)
    _, streamed, _ = await api.post("/v1/completions", {**body, "stream": True})
    assert whole["choices"][0]["text"] == text
    assert "".join(c["choices"][0]["text"] for c in chunks(streamed)[:-1]) == text
    assert set(api.service.emitted) == {plain or "".join(pieces)}


async def test_above_an_underline_the_label_tells_where_the_text_is_to_stand(api: Api) -> None:
    """Only who says that it looks there; an older client is told why nothing is written."""
    note = opened("😀\n\nLanes¦\n----\n\nIt was")
    status, body, _ = await api.post("/v1/completions", {"vaultgpt": {"note": note}})
    assert (status, body["error"]["code"]) == (403, "cursor in underline")
    ours = {"vaultgpt": {"note": {**note, "may_skip": True}}}
    _, whole, _ = await api.post("/v1/completions", ours)
    _, warmed, _ = await api.post("/v1/warm", ours)
    assert whole["vaultgpt"]["label"] == warmed["label"]
    assert (warmed["label"]["skip"], warmed["label"]["lead"]) == (5, "\n\n")
    for prompt in api.service.prompts:
        assert prompt.text == "😀\n\nLanes\n----\n\n" and prompt.suffix == "\n\nIt was"


async def test_in_a_table_the_engine_ends_at_the_cell(api: Api) -> None:
    await api.post("/v1/completions", {"stop": "END", "vaultgpt": {"note": opened("| a¦ |")}})
    assert api.service.prompts[0].stop == ("END", "\n", "|")


async def test_the_description_names_the_note_and_the_route(api: Api) -> None:
    _, document, _ = await api.get("/openapi.json")
    note = document["components"]["schemas"]["OpenNote"]["properties"]
    assert "skip" in note["may_skip"]["description"]
    assert "UTF-16" in note["cursor"]["description"] and "/v1/label" in document["paths"]


def test_while_the_author_types_on_the_cached_prompt_stays_good(
    tiny_models: Callable[..., Path],
) -> None:
    """1. A note of 20,000 characters, cut. 2. 480 more are typed, in four pauses.

    Result: every request after the first finds cached all but the tokens that were typed since.
    """
    engine = Engine(Mirror())
    engine.load(tiny_models("llama", context=2048))
    page = "\n\n".join(f"Day {n}: I walked to the river and back again." for n in range(420))
    missing: list[int] = []
    for typed in range(0, 500, 120):
        text = page + "\n\n" + ("it was dark ") * (typed // 12)
        body = CompletionRequest.model_validate(
            {
                "max_tokens": 1,
                "seed": 1,
                "vaultgpt": {"note": {"path": PATH, "text": text, "cursor": len(text)}},
            }
        )
        assert body.vaultgpt.note is not None
        note = read_editor(Path("/nowhere"), Rules(), body.vaultgpt.note.opened(PATH))
        assert note.text and len(note.text) <= 12_000 < len(text)
        usage = list(engine.generate(to_prompt(body, Mirror(), note), lambda: False))[-1]
        assert isinstance(usage, Usage)
        missing.append(usage.prompt_tokens - usage.cached_tokens)
    assert missing[0] > 1000 and max(missing[1:]) <= 120


CLAUSE = {"length": "clause"}


@pytest.mark.parametrize(
    "marked", ["Last night I was¦", "- the clock¦", "I was here. ¦", "a\n\nb¦"]
)
async def test_a_clause_goes_on_with_a_line_of_prose(api: Api, marked: str) -> None:
    ours = {"note": opened(marked, path=None), **CLAUSE}
    assert (await api.post("/v1/completions", {"vaultgpt": ours}))[0] == 200


@pytest.mark.parametrize(
    "marked",
    [
        "---\ntags: dream¦",
        "---\ntags: dream¦\n---\n",
        "```js\nlet x¦",
        "````\n```\nlet x\n```\nlet y¦\n````",
        "$$\nx = y¦\n$$",
        "%%\na remark¦\n%%",
        "<!-- a remark¦\n-->",
        "# The baths¦",
        "> They said¦",
        "| when | what¦",
    ],
)
async def test_and_nowhere_else(api: Api, marked: str) -> None:
    """Of most of these the editor's own tree tells who shows words unasked."""
    for line_end in ("\n", "\r\n"):
        note = opened(marked.replace("\n", line_end), path=None)
        status, body, _ = await api.post("/v1/completions", {"vaultgpt": {"note": note, **CLAUSE}})
        assert status == 403 and body["error"]["code"].startswith("cursor in")
        _, body, _ = await api.post("/v1/label", {"vaultgpt": {"note": note, **CLAUSE}})
        assert body["label"]["refused"]["code"].startswith("cursor in")
    assert not api.service.prompts


GERMAN = (
    "Gestern Abend bin ich noch einmal am Fluss entlanggegangen, obwohl es schon dunkel war. "
    "Die Laternen standen im Nebel, und ich hörte nur meine eigenen Schritte.¦"
)


async def test_a_language_that_the_base_has_not_read_is_said_with_the_label(api: Api) -> None:
    ours = {"note": opened(GERMAN)}
    _, body, _ = await api.post("/v1/label", {"vaultgpt": ours})
    assert "German" in body["label"]["warning"] and "pebble" in body["label"]["warning"]
    _, body, _ = await api.post("/v1/completions", {"vaultgpt": ours})
    assert "German" in body["vaultgpt"]["label"]["warning"]
    api.service.settings = with_option(api.service.settings, "base", "Qwen/Qwen3-0.6B-Base")
    _, body, _ = await api.post("/v1/label", {"vaultgpt": ours})
    assert body["label"]["warning"] is None
    api.service.writes_on = "pebble"
    _, body, _ = await api.post("/v1/label", {"vaultgpt": ours})
    assert "German, and pebble" in body["label"]["warning"], "until the other one has learned"
    assert "Qwen3" in body["label"]["warning"]
