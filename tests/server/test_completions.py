"""OpenAI's text completion over a real port: shapes, streams, limits, leaving."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from typing import Any

import pytest

from tests.server.conftest import TOKEN, Api
from vaultgpt.errors import BaseModelError, Unavailable
from vaultgpt.options import with_option
from vaultgpt.wire import Piece, TokenChance


def chunks(text: str) -> list[Any]:
    """The data of every event, in order."""
    lines = [line[6:] for line in text.split("\n") if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


async def test_a_whole_answer_has_openai_s_shape_and_ours_beside_it(api: Api) -> None:
    status, body, _ = await api.post(
        "/v1/completions", {"prompt": "I woke", "vaultgpt": {"tags": ["#Dream"], "path": "a.md"}}
    )
    assert status == 200
    assert set(body) == {"id", "object", "created", "model", "choices", "usage", "vaultgpt"}
    assert body["object"] == "text_completion" and body["model"] == "mirror"
    assert body["choices"] == [
        {"text": " and then it rained.", "index": 0, "finish_reason": "stop", "logprobs": None}
    ]
    assert (
        body["usage"]["prompt_tokens"],
        body["usage"]["completion_tokens"],
        body["usage"]["total_tokens"],
    ) == (7, 5, 12)
    assert body["vaultgpt"] == {
        "generation": "g000001",
        "engine": "own",
        "engine_problem": None,
        "tags": ["dream"],
        "first_token_ms": 12.5,
        "cached_tokens": 4,
        "tokens_per_s": 90.0,
        "overtime": 0,
        "confidence": 0.5,
        "sure": [0.5, 0.25],
    }
    assert api.service.emitted == [" and then it rained."]


async def test_a_stream_ends_with_the_reason_our_figures_and_done(api: Api) -> None:
    status, text, headers = await api.post("/v1/completions", {"prompt": "I woke", "stream": True})
    assert status == 200 and headers["Content-Type"].startswith("text/event-stream")
    *parts, done = chunks(text)
    assert done == "[DONE]"
    assert "".join(p["choices"][0]["text"] for p in parts) == " and then it rained."
    assert [p["choices"][0]["finish_reason"] for p in parts] == [None, "stop"]
    assert parts[-1]["vaultgpt"]["generation"] == "g000001" and "vaultgpt" not in parts[0]
    assert len({p["id"] for p in parts}) == 1
    assert api.service.emitted == [" and then it rained."]


async def test_alternatives_of_a_stream_interleave_and_only_the_last_chunk_has_figures(
    api: Api,
) -> None:
    api.service.pieces = [
        Piece(0, "a"),
        Piece(1, "b"),
        Piece(1, "", "stop"),
        Piece(0, "c"),
        Piece(0, "d", "length"),
    ]
    _, text, _ = await api.post("/v1/completions", {"prompt": "", "stream": True, "n": 2})
    parts = chunks(text)[:-1]
    seen = [
        (p["choices"][0]["index"], p["choices"][0]["text"], p["choices"][0]["finish_reason"])
        for p in parts
    ]
    assert seen == [
        (0, "a", None),
        (1, "b", None),
        (1, "", "stop"),
        (0, "c", None),
        (0, "d", "length"),
    ]
    assert ["vaultgpt" in p for p in parts] == [False, False, False, False, True]
    assert sorted(api.service.emitted) == ["acd", "b"]


async def test_an_error_before_the_first_piece_is_a_plain_answer(api: Api) -> None:
    api.service.pieces, api.service.failure = [], Unavailable("Loading.", "Ask again.", 7.2)
    for stream in (False, True):
        status, body, headers = await api.post("/v1/completions", {"prompt": "", "stream": stream})
        assert (status, body["error"]["code"], headers["Retry-After"]) == (503, "unavailable", "8")
    api.service.failure = BaseModelError("The base is gone.", "Download it again.")
    status, body, headers = await api.post("/v1/completions", {"prompt": ""})
    assert status == 503 and "Retry-After" in headers and body["error"]["code"] == "base_model"


async def test_an_error_in_the_middle_of_a_stream_is_an_event_and_no_done(api: Api) -> None:
    api.service.failure = Unavailable("The worker died.")
    _, text, _ = await api.post("/v1/completions", {"prompt": "", "stream": True})
    assert "event: error\n" in text and "[DONE]" not in text
    assert chunks(text)[-1]["error"]["type"] == "unavailable_error"
    assert api.service.emitted == [" and then it rained."]


@pytest.mark.parametrize("prefill", [True, False])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_ends_its_generation_within_300_ms(
    api: Api, prefill: bool, stream: bool
) -> None:
    """1. A raw TCP client asks. 2. It leaves during prefill, or after the first pieces.

    Result: the generation's iterator is closed within 300 ms, through a real AppRunner.
    """
    service = api.service
    if prefill:
        service.hold = asyncio.Event()
    else:
        service.hold_after = asyncio.Event()
    body = json.dumps({"prompt": "x", "stream": stream})
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(
        (
            f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "
            f"{TOKEN}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            f"\r\n{body}"
        ).encode()
    )
    async with asyncio.timeout(5):
        while not service.prompts:
            await asyncio.sleep(0.005)
        if stream and not prefill:
            await reader.readuntil(b"and then")
    began = time.monotonic()
    writer.close()
    async with asyncio.timeout(1):
        await service.ended.wait()
    assert time.monotonic() - began < 0.3
    if not prefill:
        async with asyncio.timeout(1):
            while not service.emitted:
                await asyncio.sleep(0)
        assert "".join(service.emitted) == " and then it rained."
    status, _, _ = await api.get("/v1/status")
    assert status == 200


async def test_a_client_that_resets_its_connection_ends_its_generation(api: Api) -> None:
    api.service.hold_after = asyncio.Event()
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    body = b'{"prompt":"x","stream":true}'
    writer.write(
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "
        + TOKEN.encode()
        + b"\r\nContent-Type: application/json\r\nContent-Length: "
        + str(len(body)).encode()
        + b"\r\n\r\n"
        + body
    )
    await reader.readuntil(b"and then")
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    async with asyncio.timeout(1):
        await api.service.ended.wait()


async def test_the_queue_is_bounded(api: Api) -> None:
    """1. One request is served, one waits (server.queue = 1). 2. A third comes.

    Result: 429 with Retry-After; the first two are answered.
    """
    api.service.settings = with_option(api.service.settings, "server.queue", 1)
    api.service.hold = asyncio.Event()
    first = [asyncio.create_task(api.post("/v1/completions", {"prompt": "x"})) for _ in range(2)]
    async with asyncio.timeout(5):
        while len(api.service.prompts) < 2:
            await asyncio.sleep(0.005)
    status, body, headers = await api.post("/v1/completions", {"prompt": "x"})
    assert (status, body["error"]["type"]) == (429, "rate_limit_error")
    assert int(headers["Retry-After"]) >= 1
    api.service.hold.set()
    assert [(await task)[0] for task in first] == [200, 200]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": 5}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ["a"] * 65}, "prompt"),
        ({"prompt": ["a", 5]}, "prompt"),
        ({"prompt": [[1, 2]]}, "prompt"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": 17}, "n"),
        ({"n": 1.5}, "n"),
        ({"n": 2.5}, "n"),
        ({"seed": 1.5}, "seed"),
        ({"stream": "yes"}, "stream"),
        ({"stop": ["x"] * 65}, "stop"),
        ({"stop": 5}, "stop"),
        ({"logprobs": 6}, "logprobs"),
        ({"logprobs": -1}, "logprobs"),
        ({"best_of": 17}, "best_of"),
        ({"best_of": 2, "n": 3}, None),
        ({"best_of": 2, "stream": True}, None),
        ({"logprobs": 1, "vaultgpt": {"note": {"text": "I", "cursor": 1}}}, None),
        ({"prompt": ["I", "we"], "vaultgpt": {"note": {"text": "I", "cursor": 1}}}, None),
        ({"logit_bias": {"5": 1}}, None),
        ({"vaultgpt": {"colour": "red"}}, "vaultgpt"),
        ({"vaultgpt": {"date": "yesterday"}}, "vaultgpt.date"),
        ({"vaultgpt": {"date": "2014-13"}}, "vaultgpt.date"),
        ({"vaultgpt": {"length": "book"}}, "vaultgpt.length"),
        ({"vaultgpt": {"tags": ["a b"]}}, "vaultgpt.tags"),
        ({"vaultgpt": {"tags": "dream"}}, "vaultgpt.tags"),
        ({"vaultgpt": {"voice": 3}}, "vaultgpt.voice"),
        ([], None),
        ("x", None),
        (None, None),
    ],
)
async def test_a_wrong_value_is_400_and_names_its_field(api: Api, body: Any, param: Any) -> None:
    data = json.dumps(body).encode()
    status, answer, _ = await api.post(
        "/v1/completions", data=data, headers={"Content-Type": "application/json"}
    )
    assert status == 400, answer
    assert answer["error"]["type"] == "invalid_request_error"
    assert answer["error"]["param"] == param
    assert not api.service.prompts


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        (
            "completions",
            {"vaultgpt": {"tagz": ["a"], "colour": 1}},
            "There is no field vaultgpt.tagz. Did you mean vaultgpt.tags? "
            "There is no field vaultgpt.colour.",
        ),
        (
            "completions",
            {"vaultgpt": {"max-tokens": 5}},
            "There is no field vaultgpt.max-tokens. Did you mean max_tokens?",
        ),
        (
            "warm",
            {"vaultgpt": {"note": {"text": "I", "cursor": 1, "pathh": "x.md"}}},
            "There is no field vaultgpt.note.pathh. Did you mean vaultgpt.note.path?",
        ),
        ("train", {"frsh": True}, "There is no field frsh. Did you mean fresh?"),
        ("train/cancel", {"fresh": True}, "There is no field fresh."),
        ("train", {"I was at the sea": 1}, "There is a field that we do not know."),
    ],
)
async def test_a_field_that_there_is_not_is_named_and_the_one_that_is_meant(
    api: Api, path: str, body: Any, said: str
) -> None:
    status, answer, _ = await api.post(f"/v1/{path}", body)
    assert (status, answer["error"]["message"]) == (400, said)


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"temperature":NaN}',
        b'{"prompt":1e999}',
    ],
)
async def test_a_body_that_is_no_json_is_400(api: Api, data: bytes) -> None:
    status, answer, _ = await api.post(
        "/v1/completions", data=data, headers={"Content-Type": "application/json"}
    )
    assert status == 400, answer


async def test_what_openai_s_clients_send_beside_is_tolerated(api: Api) -> None:
    status, _, _ = await api.post(
        "/v1/completions",
        {
            "model": "mirror",
            "prompt": ["I woke"],
            "suffix": None,
            "max_tokens": None,
            "n": None,
            "user": "me",
            "frequency_penalty": 0.5,
            "presence_penalty": 0,
            "best_of": 1,
            "echo": False,
            "logprobs": None,
            "logit_bias": {},
            "stop": None,
            "seed": None,
            "stream": False,
            "metadata": {"a": 1},
            "vaultgpt": None,
        },
    )
    assert status == 200 and api.service.prompts[0].text == "I woke"


async def test_missing_values_come_from_the_vault_s_settings(api: Api) -> None:
    settings = api.service.settings
    ours = {"mirror.temperature": 0.5, "mirror.voice": 0.25, "mirror.guard": False}
    for key, value in ours.items():
        settings = with_option(settings, key, value)
    api.service.settings = settings
    await api.post("/v1/completions", {"prompt": ""})
    prompt = api.service.prompts[0]
    assert (prompt.sampling.temperature, prompt.sampling.voice, prompt.sampling.guard) == (
        0.5,
        0.25,
        False,
    )
    assert (prompt.sampling.top_p, prompt.sampling.min_p) == (0.0, 0.0)
    assert prompt.length == "paragraph" and prompt.max_tokens > 16, "OpenAI's 16 is not ours"


async def test_what_a_request_sets_reaches_the_prompt(api: Api) -> None:
    await api.post(
        "/v1/completions",
        {
            "model": "g000003",
            "prompt": "a",
            "suffix": "b",
            "max_tokens": 33,
            "temperature": 0,
            "top_p": 0.5,
            "n": 3,
            "stop": "END",
            "seed": 7,
            "vaultgpt": {
                "tags": ["poetry"],
                "date": "2014-03-09",
                "title": " The\nhouse ",
                "min_p": 0.1,
                "voice": 0.5,
                "tag_strength": 1.5,
                "form": "question",
            },
        },
    )
    prompt = api.service.prompts[0]
    assert (prompt.model, prompt.text, prompt.suffix, prompt.max_tokens, prompt.n) == (
        "g000003",
        "a",
        "b",
        33,
        3,
    )
    assert (prompt.stop, prompt.seed, prompt.length, prompt.form) == (
        ("END",),
        7,
        "tokens",
        "question",
    )
    assert (prompt.tags, prompt.date, prompt.title) == (("poetry",), "2014-03", "The house")
    sampling = prompt.sampling
    assert (
        sampling.temperature,
        sampling.top_p,
        sampling.min_p,
        sampling.voice,
        sampling.tag_strength,
    ) == (0.0, 0.5, 0.1, 0.5, 1.5)


@pytest.mark.parametrize(
    ("ours", "date"),
    [
        ({"path": "dated.md"}, "2019-03"),
        ({"path": "dated.md", "date": "2014"}, "2014"),
        ({"path": "dated.md", "date": None}, None),
        ({"path": "undated.md"}, None),
        ({"tags": ["dream"]}, None),
    ],
)
@pytest.mark.parametrize("route", ["completions", "warm"])
async def test_silence_about_the_date_means_the_note_s_own_and_null_none(
    api: Api, route: str, ours: dict[str, Any], date: str | None
) -> None:
    assert (await api.post(f"/v1/{route}", {"prompt": "I", "vaultgpt": ours}))[0] == 200
    assert api.service.prompts[0].date == date


async def test_a_note_that_the_rules_leave_out_is_403_with_the_rule_s_code(api: Api) -> None:
    for ours in ({"path": "private.md"}, {"tags": ["private"]}):
        for path in ("/v1/completions", "/v1/warm"):
            status, body, _ = await api.post(path, {"prompt": "x", "vaultgpt": ours})
            assert (status, body["error"]["code"]) == (403, "tag")
    assert not api.service.prompts


async def test_an_unknown_model_is_404(api: Api) -> None:
    for name in ("gpt-4", "g1", "../x", "base2"):
        assert (await api.post("/v1/completions", {"prompt": "", "model": name}))[0] == 404


async def test_warm_takes_the_same_prompt_and_emits_nothing(api: Api) -> None:
    status, body, _ = await api.post(
        "/v1/warm", {"prompt": "I woke", "max_tokens": 5, "vaultgpt": {"tags": ["dream"]}}
    )
    assert (status, body) == (200, {"cached_tokens": 4})
    assert api.service.prompts[0].tags == ("dream",) and not api.service.emitted
    assert api.service.touched == 1


async def test_a_list_of_prompts_is_answered_one_each_numbered_as_openai_does(api: Api) -> None:
    api.service.pieces = [Piece(0, "a", "stop"), Piece(1, "b", "length")]
    body = {"prompt": ["first", "second"], "n": 2}
    status, answer, _ = await api.post("/v1/completions", body)
    assert status == 200 and [p.text for p in api.service.prompts] == ["first", "second"]
    seen = [(c["index"], c["text"], c["finish_reason"]) for c in answer["choices"]]
    assert seen == [(0, "a", "stop"), (1, "b", "length"), (2, "a", "stop"), (3, "b", "length")]
    assert answer["usage"]["prompt_tokens"] == 14 and answer["usage"]["completion_tokens"] == 10
    _, text, _ = await api.post("/v1/completions", {**body, "stream": True})
    *parts, done = chunks(text)
    assert done == "[DONE]" and [p["choices"][0]["index"] for p in parts] == [0, 1, 2, 3]
    assert ["vaultgpt" in p for p in parts] == [False, False, False, True]


async def test_usage_is_streamed_only_where_it_is_asked_for_in_a_chunk_of_its_own(api: Api) -> None:
    body = {"prompt": "I woke", "stream": True}
    _, text, _ = await api.post("/v1/completions", body)
    assert all("usage" not in part for part in chunks(text)[:-1])
    _, text, _ = await api.post(
        "/v1/completions", {**body, "stream_options": {"include_usage": True}}
    )
    *parts, last, done = chunks(text)
    assert done == "[DONE]" and last["choices"] == []
    assert (last["usage"]["prompt_tokens"], last["usage"]["total_tokens"]) == (7, 12)
    assert all(part["usage"] is None and part["choices"] for part in parts)


async def test_echo_and_logprobs_tell_every_token_of_the_choice_s_text(api: Api) -> None:
    service = api.service
    service.scored = [
        Piece(0, "", None, (TokenChance("I", -2.0, {"I": -2.0}), TokenChance(" woke", -3.0, {})))
    ]
    service.pieces = [
        Piece(0, " and", None, (TokenChance(" and", -0.5, {" and": -0.5}),)),
        Piece(
            0,
            " ran.",
            "stop",
            (TokenChance(" ran", -1.5, {" ran": -1.5}), TokenChance(".", -0.1, {})),
        ),
    ]
    body = {"prompt": "I woke", "echo": True, "logprobs": 1}
    _, answer, _ = await api.post("/v1/completions", body)
    choice = answer["choices"][0]
    told = choice["logprobs"]
    assert choice["text"] == "I woke and ran." == "".join(told["tokens"])
    assert told["token_logprobs"] == [-2.0, -3.0, -0.5, -1.5, -0.1]
    assert told["text_offset"] == [0, 1, 6, 10, 14]
    assert told["top_logprobs"][1] == {" woke": -3.0}, "the token itself is always told"
    _, text, _ = await api.post("/v1/completions", {**body, "stream": True})
    parts = [p["choices"][0] for p in chunks(text)[:-1]]
    assert [p["text"] for p in parts] == ["I woke and", " ran."]
    assert parts[1]["logprobs"]["text_offset"] == [10, 14]
    assert service.emitted == [" and ran."] * 2, "an echo is not the mirror's"
    _, plain, _ = await api.post("/v1/completions", {"prompt": "I woke", "echo": True})
    assert plain["choices"][0] == {**choice, "logprobs": None}


async def test_best_of_gives_back_the_likeliest(api: Api) -> None:
    api.service.pieces = [
        Piece(0, "bad", "stop", (TokenChance("bad", -5.0, {}),)),
        Piece(1, "good", "stop", (TokenChance("good", -0.1, {}),)),
        Piece(2, "fair", "stop", (TokenChance("fair", -1.0, {}),)),
    ]
    _, answer, _ = await api.post("/v1/completions", {"prompt": "", "best_of": 3, "n": 2})
    assert [(c["index"], c["text"], c["logprobs"]) for c in answer["choices"]] == [
        (0, "good", None),
        (1, "fair", None),
    ]
    assert api.service.prompts[0].n == 3 and api.service.prompts[0].logprobs == 0
    assert sorted(api.service.emitted) == ["fair", "good"]


@pytest.mark.parametrize(
    ("sent", "field", "value"),
    [
        ({"max_tokens": 4.0}, "max_tokens", 4),
        ({"max_tokens": 0, "echo": True}, "max_tokens", 0),
        ({"n": 2.0}, "n", 2),
        ({"seed": -1}, "seed", 2**63 - 1),
        ({"seed": 2**70 + 5}, "seed", 5),
        ({"seed": 7.0}, "seed", 7),
        ({"stop": ""}, "stop", ()),
        ({"stop": ["", "END"]}, "stop", ("END",)),
        ({"stop": [str(i) for i in range(64)]}, "stop", tuple(str(i) for i in range(64))),
        ({"logprobs": False}, "logprobs", None),
        ({"logprobs": 5.0}, "logprobs", 5),
        ({"temperature": 1, "top_p": 1}, "stop", ()),
    ],
)
async def test_values_as_clients_write_them_are_taken(
    api: Api, sent: dict[str, Any], field: str, value: Any
) -> None:
    status, answer, _ = await api.post("/v1/completions", {"prompt": "I", **sent})
    assert status == 200, answer
    assert getattr(api.service.prompts[0], field) == value


async def test_half_of_a_surrogate_pair_is_mended_and_the_cursor_stays(api: Api) -> None:
    """1. A client cuts its text in the middle of an emoji. Result: it is answered."""
    data = rb'{"prompt":"\ude00I woke \ud83d\ude00 at \ud83d six\ud83d","suffix":"so\ud83d"}'
    headers = {"Content-Type": "application/json"}
    status, answer, _ = await api.post("/v1/completions", data=data, headers=headers)
    assert status == 200, answer
    prompt = api.service.prompts[0]
    assert (prompt.text, prompt.suffix) == ("I woke \U0001f600 at \ufffd six", "so")
    note = rb'{"vaultgpt":{"note":{"text":"\ud83d I woke up and then","cursor":8}}}'
    status, answer, _ = await api.post("/v1/completions", data=note, headers=headers)
    assert status == 200, answer
    assert api.service.prompts[1].text == "\ufffd I woke"


async def test_one_model_is_told_and_an_unknown_one_is_404(api: Api) -> None:
    status, row, _ = await api.get("/v1/models/g000001")
    assert status == 200 and row["id"] == "g000001" and row["object"] == "model"
    assert (await api.get("/v1/models/mirror"))[0] == 200
    assert (await api.get("/v1/models/gpt-4"))[0] == 404
