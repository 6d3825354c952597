"""POST /v1/likeness of a real daemon, whose tiny real models say what surprises them."""

from __future__ import annotations

import http.client
import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.serving import Serving, wait_for
from tests.mirror.conftest import make_adapter, publish_voice
from vaultgpt.errors import VaultGPTError
from vaultgpt.ledger import Ledger
from vaultgpt.settings import Rules, save_option
from vaultgpt.state import VaultState
from vaultgpt.tasks.likeness import _passages
from vaultgpt.vault.at_cursor import from_utf16, read_prose

MINE = "I walked along the quiet river and looked at the wall."
ALSO = "Then it rained until the evening came."
NOTE = f"""---\r
tags: [walk]\r
---\r
%%\r
nobody is to read these many words here\r
%%\r
😀 {MINE} {ALSO}\r
\r
````\r
```\r
some code that has quite a few words\r
```\r
````\r
<!-- a remark of several lines\r
that has quite a few words of nobody -->\r
$$\r
a formula that has quite a few words\r
$$\r
"""


@pytest.fixture
def daemon(state: VaultState, tiny_llama: Path, tmp_path: Path) -> Iterator[Serving]:
    save_option(state.config, "training.pause", True)
    adapter = make_adapter(tiny_llama, tmp_path / "staged", "llama", seed=1)
    voice = publish_voice(state, tiny_llama, adapter)
    with Ledger.open(state) as ledger:
        ledger.generations.activate(voice, 1.0)
    with Serving(state) as serving:
        serving.scanned()
        yield serving


def compared(daemon: Serving, text: str, path: str | None = "Walks/One.md") -> dict[str, Any]:
    return dict(daemon.client.post("/v1/likeness", {"path": path, "text": text}))


def comparing(daemon: Serving) -> int:
    """How many requests have the mirror or wait for it."""
    connection = http.client.HTTPConnection("127.0.0.1", daemon.client.port, timeout=60)
    connection.request("GET", "/metrics", headers=headers(daemon))
    text = connection.getresponse().read().decode()
    connection.close()
    return int(float(re.search(r"^vaultgpt_writing (\S+)", text, re.M)[1]))  # type: ignore[index]


def headers(daemon: Serving) -> dict[str, str]:
    token = f"Bearer {daemon.client.token}"
    return {"Authorization": token, "Content-Type": "application/json"}


def test_the_authors_sentences_are_compared_and_nothing_else_of_the_note(daemon: Serving) -> None:
    found = compared(daemon, NOTE)
    places = [
        (from_utf16(NOTE, s["start"]), from_utf16(NOTE, s["end"])) for s in found["sentences"]
    ]
    assert [NOTE[a:b] for a, b in places] == [f"😀 {MINE}", ALSO]
    gains = [s["gain"] for s in found["sentences"]]
    assert found["refused"] is None and all(gains) and len(set(gains)) == 2
    assert compared(daemon, NOTE)["sentences"] == found["sentences"]
    body = {"prompt": [f"😀 {MINE} {ALSO}"], "max_tokens": 0, "echo": True, "logprobs": 0}
    nats = {}
    for model in ("mirror", "base"):
        chances = daemon.ask(**body, model=model, vaultgpt={"tags": ["walk"]})["choices"][0][
            "logprobs"
        ]
        second = len(f"😀 {MINE}")
        nats[model] = [0.0, 0.0]
        for chance, token, at in zip(
            chances["token_logprobs"], chances["tokens"], chances["text_offset"], strict=True
        ):
            seen = at + len(token) - len(token.lstrip())
            nats[model][seen > second] -= chance or 0.0
    wanted = [1 - m / b for m, b in zip(nats["mirror"], nats["base"], strict=True)]
    assert gains == pytest.approx(wanted, abs=1e-4), "what /v1/completions says of the same text"


def test_a_note_left_out_is_refused_and_so_is_one_where_only_the_base_writes(
    daemon: Serving,
) -> None:
    refused = compared(daemon, f"---\nvaultgpt: false\n---\n{MINE}")
    assert refused["refused"]["code"] == "vaultgpt: false" and refused["sentences"] == []
    daemon.client.post("/v1/generations/base/activate", {})
    assert compared(daemon, NOTE)["refused"]["code"] == "nothing learned"


def test_tags_that_the_rules_exclude_are_refused_as_a_completion_is(daemon: Serving) -> None:
    said = []
    for path, body in (
        ("/v1/likeness", {"text": MINE, "tags": ["private"]}),
        ("/v1/completions", {"prompt": MINE, "vaultgpt": {"tags": ["private"]}}),
    ):
        with pytest.raises(VaultGPTError) as refused:
            daemon.client.post(path, body)
        said.append(refused.value.message)
    assert said == ["The rules leave out notes with this tag."] * 2


def test_a_hotkey_goes_before_the_comparison_of_a_long_note_which_goes_on_after_it(
    daemon: Serving,
) -> None:
    """1. A long note is compared. 2. Meanwhile text is asked for, three times.

    Result: the text comes while the comparison is under way, and the comparison ends well.
    """
    found: dict[str, Any] = {}
    text = " ".join(f"{MINE[:-1]} for the {n}th time." for n in range(900))
    thread = threading.Thread(target=lambda: found.update(compared(daemon, text)))
    daemon.ask(prompt="I walked", max_tokens=1)
    thread.start()
    wait_for(lambda: comparing(daemon) == 1)
    for _ in range(3):
        assert daemon.ask(prompt="I walked", max_tokens=2)["choices"][0]["text"]
    assert thread.is_alive(), "the note is long enough for the test"
    thread.join(120)
    assert len(found["sentences"]) > 200, "as many as were scored: the tiny base reads 256 tokens"


def test_a_note_is_cut_beside_the_daemons_other_work(daemon: Serving) -> None:
    """Else no key stroke was answered for as long as that takes: 4 s of 20,000 sentences."""
    text = "\n\n".join([MINE] * 15_000)
    prose = read_prose(Path("/nowhere"), Rules(), None, text)
    began = time.monotonic()
    _passages(prose)
    took = time.monotonic() - began
    connection = http.client.HTTPConnection("127.0.0.1", daemon.client.port, timeout=60)
    body = json.dumps({"path": None, "text": text})
    connection.request("POST", "/v1/likeness", body, headers(daemon))
    waits, until = [], time.monotonic() + 3 * took + 1
    while time.monotonic() < until:
        asked = time.monotonic()
        comparing(daemon)
        waits.append(time.monotonic() - asked)
    connection.close()
    assert max(waits) < took / 2


def test_who_leaves_ends_the_comparison(daemon: Serving) -> None:
    text = " ".join(f"{MINE[:-1]} for the {n}th time." for n in range(900))
    connection = http.client.HTTPConnection("127.0.0.1", daemon.client.port, timeout=60)
    connection.request("POST", "/v1/likeness", json.dumps({"text": text}), headers(daemon))
    wait_for(lambda: comparing(daemon) == 1)
    connection.close()
    wait_for(lambda: comparing(daemon) == 0)
