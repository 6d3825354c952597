"""Vaults that are moved, nested or gone: said, taken over or erased, never lost sight of."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import Run, Trained, run

Cli = Callable[..., Run]


@pytest.fixture
def moved(trained: Trained, tmp_path: Path) -> tuple[Path, Path, Path]:
    """(where the vault was, where it is now, the state root): trained, then moved."""
    home, old, new = tmp_path / "home", tmp_path / "gone", tmp_path / "moved"
    shutil.copytree(trained.home, home)
    shutil.copytree(trained.vault, new)
    names = json.loads((home / "vaults.json").read_text())["vaults"].values()
    (home / "vaults.json").write_text(json.dumps({"vaults": {str(old): name for name in names}}))
    return old, new, home


def folders(home: Path) -> list[str]:
    return sorted(p.name for p in (home / "vaults").iterdir())


def test_a_moved_vault_is_recognised_and_nothing_begins_beside_it(
    moved: tuple[Path, Path, Path],
) -> None:
    """1. A trained vault is moved. 2. status, init, init --json. Result: each names --adopt, and
    no empty state is made; with --adopt the old voice writes, and one state folder is left.
    """
    old, new, home = moved
    before = folders(home)
    (new / "Journal").mkdir(exist_ok=True)
    for args in (
        ("status", str(new)),
        ("init", str(new), "--no-plugin"),
        ("init", str(new), "--json"),
    ):
        done = run(*args, home=home)
        said = done.out if "--json" in args else done.err
        assert done.status == 1 and f"--adopt {old}" in said, (args, said)
    inside = run("status", home=home, cwd=new)
    assert inside.status == 1 and f"--adopt {old}" in inside.err
    assert folders(home) == before

    adopted = run("init", str(new), "--no-plugin", "--adopt", str(old), home=home)
    assert adopted.status == 0, adopted.err
    assert run("status", str(new), "--json", home=home).json["active"] == "g000001"
    assert folders(home) == before


def test_adopting_later_leaves_no_stray_state(moved: tuple[Path, Path, Path]) -> None:
    old, new, home = moved
    before = folders(home)
    assert run("init", str(new), "--no-plugin", "--new", home=home).status == 0
    assert len(folders(home)) == len(before) + 1
    assert run("init", str(new), "--no-plugin", "--adopt", str(old), home=home).status == 0
    assert folders(home) == before
    assert run("status", str(new), "--json", home=home).json["active"] == "g000001"


def test_a_voice_of_its_own_is_not_given_up_in_silence(moved: tuple[Path, Path, Path]) -> None:
    old, new, home = moved
    assert run("init", str(new), "--no-plugin", "--new", home=home).status == 0
    state = next(r for r in run("vaults", "--json", home=home).json["vaults"] if r["there"])[
        "state"
    ]
    (Path(state) / "generations" / "g000001").mkdir()
    done = run("init", str(new), "--no-plugin", "--adopt", str(old), home=home)
    assert done.status == 1 and "voice of its own" in done.err and "vaultgpt remove" in done.err


def test_a_vault_that_is_gone_is_listed_named_by_doctor_and_erased_by_its_path(
    moved: tuple[Path, Path, Path],
) -> None:
    old, _, home = moved
    rows = run("vaults", "--json", home=home).json["vaults"]
    assert [(r["vault"], r["there"], r["active"]) for r in rows] == [(str(old), False, "g000001")]
    assert "Its folder is gone" in run("vaults", home=home).out
    doctor = run("doctor", home=home)
    assert doctor.status == 1 and f"vault {old}: Its folder is gone" in doctor.out
    told = run("status", str(old), home=home)
    assert told.status == 1 and "is gone" in told.err and f"vaultgpt remove {old}" in told.err
    assert run("remove", str(old), "--yes", home=home).status == 0
    assert folders(home) == [] and run("vaults", "--json", home=home).json["vaults"] == []


def test_a_copy_beside_its_vault_is_no_move(trained: Trained, tmp_path: Path) -> None:
    copy, home = tmp_path / "copy", tmp_path / "home"
    shutil.copytree(trained.vault, copy)
    shutil.copytree(trained.home, home)
    done = run("init", str(copy), "--no-plugin", home=home)
    assert done.status == 0 and "--adopt" not in done.err


def test_several_vaults_are_listed_and_one_inside_another_is_said(cli: Cli, tmp_path: Path) -> None:
    outer, other = tmp_path / "outer", tmp_path / "other"
    (outer / "inner").mkdir(parents=True)
    other.mkdir()
    assert cli("init", str(outer)).status == cli("init", str(other)).status == 0
    inner = cli("init", str(outer / "inner"))
    assert inner.status == 0 and "lies inside the vault" in inner.err
    above = cli("init", str(tmp_path), "--no-plugin")
    assert above.status == 1 and "state folder would lie inside" in above.err
    assert "set up too" not in above.err, "nothing was set up there"
    told = cli("status")
    assert told.status == 1 and "Several vaults" in told.err
    assert all(str(p) in told.err for p in (outer, other, outer / "inner"))
    doctor = cli("doctor").out
    assert all(f"vault {p}: It is there." in doctor for p in (outer, other))


def test_a_state_folder_of_no_vault_is_listed_and_can_be_erased(cli: Cli, tmp_path: Path) -> None:
    stray = tmp_path / "home" / "vaults" / "old-12345678"
    stray.mkdir(parents=True)
    assert cli("vaults", "--json").json["strays"] == [str(stray)]
    assert cli("remove", str(stray), "--yes").status == 0 and not stray.exists()


def test_a_vault_whose_ledger_can_not_be_read_is_not_said_to_have_no_voice(
    tmp_path: Path, cli: Callable[..., Run]
) -> None:
    (tmp_path / "vault").mkdir()
    assert cli("init", str(tmp_path / "vault"), "--no-plugin").status == 0
    (ledger,) = (tmp_path / "home" / "vaults").glob("*/ledger.sqlite3")
    for path in ledger.parent.glob("ledger.sqlite3*"):
        path.unlink()
    ledger.mkdir()
    told = cli("vaults")
    assert "its ledger can't be read: `vaultgpt doctor`" in told.out and "writes" not in told.out
