"""What is sent with a bug report: enough to look for the fault, and nothing of the author's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import vaultgpt
from tests.upgrades.test_upgrades import KEPT, opened
from vaultgpt.cli import app
from vaultgpt.ledger import Ledger
from vaultgpt.settings import save_option
from vaultgpt.state import VaultState, create_state
from vaultgpt.tasks.bug_report import write_report
from vaultgpt.tasks.doctor import check_machine, check_places, check_vault

CANARIES = {
    "prose": "marzipanorchard",
    "title": "velvetlantern",
    "tag": "copperheron",
    "folder": "quincejelly",
    "note": "thimblewharf",
    "pattern": "ambercellar",
    "token": "saffronladder1234567",
    "vault": "pewtergarden",
    "base": "walnutharbour",
    "log": "SilverpondError",
    "rule": "pearlmeadow",
    "engine": "russetlagoon",
}


@pytest.fixture
def state(home: Path, tmp_path: Path) -> VaultState:
    """A vault of three rounds with a word that is nowhere else in everything that has a name."""
    folder = opened(KEPT[0], home, tmp_path).folder
    vault = tmp_path / CANARIES["vault"]
    shutil.move(tmp_path / "vault", vault)
    state = create_state(vault, adopt=folder)
    word = CANARIES
    note = vault / word["folder"] / f"{word['note']}.md"
    note.parent.mkdir()
    note.write_text(
        f"---\ntitle: {word['title']}\ntags: [{word['tag']}]\n---\n# {word['title']}\n\n"
        f"I saw the {word['prose']} again, and {word['prose']} saw me.\n"
    )
    (note.parent / f"{word['note']} broken.md").write_text(f"---\ntags: [{word['tag']}\n---\nx\n")
    save_option(state.config, "rules.exclude", [f"{word['pattern']}/**", "!!["])
    save_option(state.config, "rules.exclude_tags", [word["rule"]])
    save_option(state.config, "mirror.engine_url", f"https://{word['engine']}.example/v1")
    for name in ("model", "key_file", "voices"):
        save_option(state.config, f"mirror.engine_{name}", f"/mnt/{word['engine']}")
    save_option(state.config, "base", str(tmp_path / word["base"]))
    state.token_path.write_text(word["token"])
    (state.folder / f"{word['note']}.{word['tag']}").write_text(word["prose"])
    line = f"2026-11-29 03:00:00,000 ERROR vaultgpt.daemon {word['prose']} {word['log']}\n"
    (state.logs / "daemon.log").write_text(line * 3 + line.replace(word["log"], "OSError"))
    with Ledger.open(state) as ledger:
        ledger.emitted.accepted(f"{word['prose']} " * 12, 0.0)
    return state


def report(state: VaultState, folder: Path) -> tuple[str, dict[str, Any]]:
    findings = [*check_machine(), *check_vault(state), *check_places(every=True)]
    text = write_report(state, findings, folder).read_text(encoding="utf-8")
    return text, json.loads(text)


def test_no_word_name_or_path_of_the_authors_is_in_it(state: VaultState, tmp_path: Path) -> None:
    text, _ = report(state, tmp_path)
    for what, word in CANARIES.items():
        assert word.lower() not in text.lower(), what
    paths = (
        str(tmp_path),
        str(state.folder),
        state.folder.name,
        str(Path.home()),
        state.secret().hex(),
    )
    assert not [path for path in paths if path in text]
    assert "/" not in text.replace("to mend", "")


def test_it_tells_what_is_needed_to_look_for_a_fault(state: VaultState, tmp_path: Path) -> None:
    _, told = report(state, tmp_path)
    assert told["versions"]["vaultgpt"] == vaultgpt.__version__ and told["versions"]["torch"]
    assert told["machine"]["cores"] > 0 and told["findings"]["base"] == {"to mend": 1}
    vault = told["vault"]
    assert vault["settings"]["changed"]["mirror.temperature"] == 0.8
    assert vault["settings"]["changed"]["rules.exclude"] == {"length": 2}
    assert vault["settings"]["base"] == "folder or file"
    assert vault["notes"]["notes"] == 30 and vault["notes"]["tags"] == 4
    assert vault["notes"]["took_s"] >= 0
    assert [r["promoted"] for r in vault["ledger"]["rounds"]] == [False, True, True]
    assert vault["ledger"]["rounds"][0]["refused_by"]
    assert vault["log"]["lines"] == {
        "ERROR vaultgpt.daemon": 3,
        "ERROR vaultgpt.daemon OSError": 1,
    }


def test_doctor_writes_it_for_its_owner_alone(
    state: VaultState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    done = CliRunner().invoke(app, ["doctor", str(state.vault), "--report", "--json"])
    (path,) = (tmp_path / "here").iterdir()
    assert json.loads(done.stdout)["report"] == str(path)
    assert path.stat().st_mode & 0o777 == 0o600 and "vault" in json.loads(path.read_text())


def test_a_part_that_cannot_be_had_is_told_by_its_kind(state: VaultState, tmp_path: Path) -> None:
    state.config.write_text("nonsense = [")
    _, told = report(state, tmp_path)
    assert told["vault"]["settings"]["failed"] == "StateError"
    assert told["vault"]["ledger"]["rounds"]


def test_a_count_that_was_damaged_by_hand_costs_no_part(state: VaultState, tmp_path: Path) -> None:
    with Ledger.open(state) as ledger:
        ledger.set_meta("memory_repaired", "x")
    assert report(state, tmp_path)[1]["vault"]["ledger"]["repaired"] == 0
