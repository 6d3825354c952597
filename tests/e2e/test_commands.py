"""The commands from outside: exit status, one clear line, fixed JSON keys, no traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.daemon.serving import STATUS_KEYS
from tests.e2e.conftest import Run, Trained

COMMANDS = [
    "demo",
    "init",
    "scan",
    "why",
    "train",
    "continue",
    "serve",
    "status",
    "report",
    "generations",
    "activate",
    "rollback",
    "forget",
    "remove",
    "export",
    "import",
    "base",
    "token",
    "config",
    "plugin",
    "doctor",
    "vaults",
    "open",
]


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_every_command_takes_help(name: str, cli: Callable[..., Run]) -> None:
    done = cli(*([name] if name else []), "--help")
    assert done.status == 0
    assert "Usage" in done.out


@pytest.mark.parametrize(
    "args",
    [
        ("scan",),
        ("train",),
        ("status",),
        ("continue", "--text", "x"),
        ("serve",),
        ("report",),
        ("init", "missing"),
        ("why", "missing.md"),
        ("generations",),
    ],
)
def test_without_a_vault_there_is_one_clear_line_and_the_mend(
    args: tuple[str, ...], cli: Callable[..., Run]
) -> None:
    done = cli(*args)
    assert done.status == 1
    assert done.out == ""
    assert len(done.err.strip().splitlines()) == 1


@pytest.mark.parametrize("args", [("nonsense",), ("init",), ("config", "--no-such-flag")])
def test_wrong_usage_is_status_2(args: tuple[str, ...], cli: Callable[..., Run]) -> None:
    assert cli(*args).status == 2


def test_a_file_instead_of_a_folder_is_said_so(tmp_path: Path, cli: Callable[..., Run]) -> None:
    (tmp_path / "note.md").write_text("x")
    done = cli("init", str(tmp_path / "note.md"))
    assert done.status == 1 and "file, not a folder" in done.err


def test_an_empty_folder_and_a_tiny_vault_get_a_fitting_sentence(
    tmp_path: Path, cli: Callable[..., Run]
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    done = cli("init", str(empty))
    assert done.status == 0 and "folder is empty" in done.out
    (empty / "a.md").write_text("Rain again. I mended the gate and went to bed early. " * 30)
    done = cli("train", str(empty), "--json")
    assert done.status == 0
    assert done.json["kind"] == "none" and "2,000" in done.json["verdict"]["why"]


def test_scan_adds_up(trained: Trained) -> None:
    found = trained("scan", "--json").json
    assert {"notes", "used", "left_out", "words", "tags", "years"} <= set(found)
    assert found["notes"] == found["used"] + sum(found["left_out"].values())


def test_train_has_the_fixed_keys(trained: Trained) -> None:
    answer = trained.first
    assert {"round", "kind", "verdict", "report", "generation"} <= set(answer)
    assert answer["kind"] == "fresh"
    assert set(answer["report"]["bits_per_byte"]) >= {
        "held_out",
        "held_out_before",
        "held_out_base",
        "new_notes",
        "new_notes_before",
        "general",
        "general_base",
    }
    assert answer["generation"] == "g000001", answer["verdict"]


def test_why_shows_the_spans_of_the_file(trained: Trained) -> None:
    note = next(trained.vault.rglob("*.md"))
    answer = trained("why", str(note), "--json").json
    text = note.read_text()
    assert {"used", "why", "held_out", "date", "tags", "prose", "spans", "problem"} <= set(answer)
    prose = "".join(text[s["start"] : s["end"]] for s in answer["spans"] if s["kind"] == "prose")
    assert prose == answer["prose"]
    assert answer["prose"].split()[-1] in trained("why", str(note)).out
    named = trained("why", str(note.with_suffix("")), "--json").json  # as Obsidian shows it
    assert named == answer


def test_continue_writes_and_has_the_fixed_keys(trained: Trained) -> None:
    answer = trained(
        "continue",
        "--text",
        "This morning I",
        "--tags",
        "dream",
        "--n",
        "2",
        "--seed",
        "5",
        "--max-tokens",
        "24",
        "--json",
    ).json
    assert {
        "text",
        "texts",
        "generation",
        "tags",
        "prompt_tokens",
        "tokens",
        "first_token_ms",
        "tokens_per_s",
    } <= set(answer)
    assert len(answer["texts"]) == 2 and answer["text"] == answer["texts"][0]
    assert answer["generation"] == "g000001" and answer["tags"] == ["dream"]
    again = trained(
        "continue",
        "--text",
        "This morning I",
        "--tags",
        "dream",
        "--n",
        "2",
        "--seed",
        "5",
        "--max-tokens",
        "24",
        "--json",
    ).json
    assert again["texts"] == answer["texts"]


def test_continue_takes_standard_input_an_empty_text_and_a_note(trained: Trained) -> None:
    assert trained("continue", "--text", "-", "--seed", "1", stdin="I went to").status == 0
    assert trained("continue", "--text", "", "--seed", "1", "--generation", "base").status == 0
    note = next(trained.vault.rglob("*.md")).relative_to(trained.vault)
    assert trained("continue", "--note", str(note), "--length", "sentence").status == 0


@pytest.mark.parametrize(
    "args",
    [
        ("continue",),
        ("continue", "--text", "x", "--note", "y"),
        ("continue", "--text", "x", "--date", "14"),
        ("continue", "--text", "x", "--length", "novel"),
        ("continue", "--text", "x", "--form", "sonnet"),
        ("config", "no.such.key"),
        ("config", "server.port", "99999"),
    ],
)
def test_a_bad_option_is_refused_in_one_line(args: tuple[str, ...], trained: Trained) -> None:
    done = trained(*args)
    assert done.status == 2 and len(done.err.strip().splitlines()) == 1


def test_an_unknown_generation_is_one_clear_line(trained: Trained) -> None:
    for args in (("activate", "g000999"), ("continue", "--text", "x", "--generation", "g000999")):
        done = trained(*args)
        assert done.status == 1 and "g000999" in done.err
        assert len(done.err.strip().splitlines()) == 1, "it is refused before anything is loaded"


def test_config_shows_every_option_and_sets_one(trained: Trained) -> None:
    shown = trained("config", "--json").json
    assert shown["schedule.nightly"]["default"] == "03:00"
    assert all(o["doc"] for o in shown.values())
    assert trained("config", str(trained.vault), "schedule.nightly", "04:30").status == 0
    assert (
        trained("config", "schedule.nightly", "--json").json["schedule.nightly"]["value"] == "04:30"
    )


def test_status_report_and_generations_answer(trained: Trained) -> None:
    status = trained("status", "--json").json
    assert set(status) >= STATUS_KEYS
    assert status["active"] == "g000001"
    rows = trained("generations", "--json").json["generations"]
    assert [r["id"] for r in rows] == ["g000001"] and rows[0]["active"]
    report = trained("report", "--json").json
    assert report["bits_per_byte"]["held_out"] > 0 and report["sentences"]
    assert report["voice"]["written"]["words"] > 0 and report["voice"]["headers"]["right"] > 0
    for name in ("status", "report", "generations"):
        assert trained(name).status == 0


def test_export_writes_an_adapter_that_peft_loads_and_warns(
    trained: Trained, tmp_path: Path
) -> None:
    from peft import AutoPeftModelForCausalLM

    done = trained("export", str(tmp_path / "adapter"))
    assert done.status == 0 and "diary" in done.err
    AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter")
    files = json.loads((tmp_path / "adapter" / "manifest.json").read_text())["files"]
    there = {path.name for path in (tmp_path / "adapter").iterdir()} - {"manifest.json"}
    assert there == set(files) and "last_weights.safetensors" not in there
    assert trained("export", str(tmp_path / "adapter")).status == 1
    done = trained("export", str(tmp_path / "whole"), "--merged", "--json")
    assert done.status == 0 and "model.safetensors" in done.json["files"]


def test_rollback_without_an_earlier_generation_says_so(trained: Trained) -> None:
    done = trained("rollback")
    assert done.status == 1 and "no earlier voice" in done.err


def test_the_page_needs_a_running_daemon(trained: Trained) -> None:
    done = trained("open", "--json")
    assert done.status == 1 and "vaultgpt serve" in json.loads(done.out)["error"]["hint"]


def test_doctor_finds_a_healthy_vault(trained: Trained) -> None:
    done = trained("doctor", "--json")
    assert done.status == 0, done.out
    assert json.loads(done.out)["healthy"]


def test_a_left_out_note_is_not_continued(trained: Trained) -> None:
    private = trained.vault / "Private thing.md"
    private.write_text("---\nvaultgpt: false\n---\nNobody reads this.\n")
    done = trained("continue", "--note", str(private))
    assert done.status == 1 and "vaultgpt: false" in done.err
    private.unlink()


def test_remove_erases_the_state_and_no_note(tmp_path: Path, cli: Callable[..., Run]) -> None:
    vault = tmp_path / "v"
    vault.mkdir()
    (vault / "a.md").write_text("Hello there, it rained.")
    (vault / ".obsidian").mkdir()
    assert cli("init", str(vault)).status == 0
    hashes = tmp_path / "home" / "hashes.json"
    hashes.write_text(json.dumps({str(vault / "base" / "model.safetensors"): [1, 2, 3, "x"]}))
    assert cli("remove", str(vault)).status == 2
    folders = list((tmp_path / "home" / "vaults").iterdir())
    done = cli("remove", str(vault), "--yes")
    assert done.status == 0 and "The plugin stays in" in done.out
    assert not folders[0].exists() and (vault / "a.md").exists()
    assert str(vault) not in hashes.read_text()
