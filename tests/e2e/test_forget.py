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


def test_of_a_voice_that_may_not_write_no_command_says_that_it_does(apart: Trained) -> None:
    """1. The only voice learned a note that is forgotten. 2. The base is chosen. Result: each
    command says what writes, and names only a way back that there is."""
    vault, note = str(apart.vault), learned_note(apart)
    assert apart("forget", note, "--vault", vault, "--yes").status == 0
    why = "g000001 learned a note that was forgotten"
    assert "writes as the base alone" in apart("vaults").out
    assert why in apart("doctor", vault).out
    report = apart("report", vault)
    assert report.out.startswith(why) and "Measuring" not in report.err
    assert "writes on" not in apart("base", "-v", vault, "pebble").out
    named = apart("continue", vault, "--text", "Last night", "--generation", "g000001")
    assert named.status == 1 and why in named.err and "`vaultgpt train`" in named.err

    said = apart("activate", vault, "base").out
    assert "rollback" not in said and "`vaultgpt train`" in said
    assert apart("rollback", vault).status == 1
    assert "rollback" not in apart("status", vault).out
    written = apart("continue", vault, "--text", "Last night", "--max-tokens", "8").err
    assert "rollback" not in written and "`vaultgpt train`" in written
    refused = apart("export", "-v", vault, str(apart.home / "out")).err
    assert "The base writes" in refused and "rollback" not in refused


def test_a_voice_that_was_put_aside_is_brought_back_as_each_command_says(apart: Trained) -> None:
    vault, back = str(apart.vault), "`vaultgpt rollback` brings your voice back"
    assert back in apart("activate", vault, "base").out
    refused = apart("export", "-v", vault, str(apart.home / "out"))
    assert refused.status == 1 and back in refused.err
    assert back in apart("continue", vault, "--text", "Last night", "--max-tokens", "8").err
    assert apart("rollback", vault).out.startswith("g000001 writes")
