"""The whole job for real, as `make demo` runs it: embedded base, example vault, daemon."""

from __future__ import annotations

import math
from collections.abc import Callable

from tests.e2e.conftest import Run


def test_the_demo_learns_writes_notices_and_learns_again(cli: Callable[..., Run]) -> None:
    done = cli("demo", "--json", limit_s=420)
    assert done.status == 0, done.err
    answer = done.json
    first, *_, last = answer["rounds"]
    assert first["kind"] == "fresh" and last["kind"] == "incremental"
    assert first["verdict"]["promoted"], first["verdict"]
    bits = first["report"]["bits_per_byte"]
    assert bits["held_out"] < 0.97 * bits["held_out_base"]  # a gain that is plain to see
    assert all(r["verdict"]["why"] for r in answer["rounds"])
    assert [c["tags"] for c in answer["continuations"][:3]] == [["journal"], ["dream"], ["poetry"]]
    for continuation in answer["continuations"]:
        assert continuation["text"].strip()
        assert continuation["generation"].startswith("g0")
        for canary in ("Ottoline", "Marsh", "417"):
            assert canary not in continuation["text"]
    assert math.isfinite(answer["seconds"])
    print(f"demo: {answer['seconds']:.0f} s")
