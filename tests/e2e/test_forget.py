"""`forget` as the author sees it: every command that tells of the note tells it as forgotten."""

from __future__ import annotations

import json

from tests.e2e.conftest import Trained


def learned_note(trained: Trained) -> str:
    """A note that is not held out, by its path in the vault."""
    for path in sorted(trained.vault.rglob("*.md")):
        note = path.relative_to(trained.vault).as_posix()
        if not trained("why", note, "--vault", str(trained.vault), "--json").json["held_out"]:
            return note
    raise AssertionError("every note is held out")


def test_a_forgotten_note_is_said_so_and_the_base_writes_with_the_reason(apart: Trained) -> None:
    """1. A vault has one voice. 2. A note that it learned is forgotten. Result: why, scan and
    status agree, `continue` writes as the base and says what to do.
    """
    vault, note = str(apart.vault), learned_note(apart)
    before = apart("scan", vault, "--json").json
    refused = apart("forget", note, "--vault", vault, "--json")
    assert refused.status == 2 and "--yes" in refused.out
    assert apart("scan", vault, "--json").json == before

    done = apart("forget", note, "--vault", vault, "--yes", "--json")
    assert done.status == 0, done.err
    assert done.json["generations"] == ["g000001"] and done.json["writes"] is None

    why = apart("why", note, "--vault", vault, "--json").json
    assert not why["used"] and why["code"] == "forgotten" and why["prose"] == ""
    assert "prose" not in {span["kind"] for span in why["spans"]}
    assert "forgotten" in apart("why", note, "--vault", vault).out.splitlines()[0]

    after = apart("scan", vault, "--json").json
    assert after["left_out"] == {**before["left_out"], "forgotten": 1}
    assert after["notes"] == before["notes"] and after["used"] == before["used"] - 1
    again = apart("init", vault, "--no-plugin", "--json").json
    assert again["left_out"] == after["left_out"] and again["words"] == after["words"]
    status = apart("status", vault, "--json").json
    assert status["used"] == after["used"] and status["words"] == after["words"]
    assert status["writes"] is None and status["active"] == "g000001"
    told = apart("status", vault).out
    assert "itself, which has learned nothing of yours." in told
    assert told.count("learned a note that was forgotten") == 1

    written = apart("continue", vault, "--text", "Last night", "--max-tokens", "8", "--json")
    assert written.status == 0 and written.json["generation"] == "base"
    assert "g000001 learned a note that was forgotten" in written.err
    assert "`vaultgpt train`" in written.err


def test_a_renamed_note_stays_forgotten_before_any_scan(apart: Trained) -> None:
    vault, note = apart.vault, learned_note(apart)
    text = (vault / note).read_text(encoding="utf-8")
    (vault / note).write_text(
        text + "\n\nAmen.\n", encoding="utf-8"
    )  # too short to be barred alone
    assert apart("forget", note, "--vault", str(vault), "--yes").status == 0
    moved = vault / "moved to here.md"
    (vault / note).rename(moved)
    try:
        told = apart("why", moved.name, "--vault", str(vault), "--json").json
        assert told["code"] == "forgotten", json.dumps(told)[:300]
    finally:
        moved.rename(vault / note)
        (vault / note).write_text(text, encoding="utf-8")
