"""Generation folders: published whole or not at all, verified, erased."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any, cast

import pytest

from tests.ledger.vaults import NOW, FakeBase, Vault
from tests.rounds.fakes import FakeTrainer, train
from vaultgpt import files, generation_folders
from vaultgpt.errors import GenerationError
from vaultgpt.generation_folders import Manifest
from vaultgpt.ledger import Ledger
from vaultgpt.rounds.mend import repair
from vaultgpt.rounds.run import run_round


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path)


def manifest(**more: Any) -> Manifest:
    made: Any = {
        "base": "tiny",
        "revision": None,
        "base_sha256": {},
        "parent": None,
        "round": 1,
        "created": NOW,
        "learned": [],
        "held_out": [],
        "report": {},
        "verdict": {},
        **more,
    }
    return cast(Manifest, made)


def staged(vault: Vault, name: str = "r1") -> Path:
    out = vault.state.staging / name
    out.mkdir(parents=True)
    (out / "adapter_model.safetensors").write_bytes(b"w" * 100)
    (out / "adapter_config.json").write_text("{}")
    os.chmod(out / "adapter_config.json", 0o644)  # as peft leaves it
    (out / "optimizer.bin").write_bytes(b"x")
    (out / "runs").mkdir()
    return out


def test_a_published_generation_is_private_hashed_and_says_what_it_is(vault: Vault) -> None:
    name = generation_folders.publish(staged(vault), vault.state, manifest())
    folder = vault.state.generations / name
    assert name == "g000001"
    assert {p.name for p in folder.iterdir()} == {
        "adapter_model.safetensors",
        "adapter_config.json",
        "manifest.json",
        "README.md",
    }
    assert all(p.stat().st_mode & 0o777 == 0o600 for p in folder.iterdir())
    assert folder.stat().st_mode & 0o777 == 0o700
    assert "diary in another form" in (folder / "README.md").read_text()
    assert set(generation_folders._KEYS) <= set(generation_folders.verify(folder))


def test_a_name_is_never_given_twice(vault: Vault) -> None:
    generation_folders.publish(staged(vault), vault.state, manifest())
    second = generation_folders.publish(staged(vault), vault.state, manifest())
    assert second == "g000002"
    generation_folders.erase(vault.state, second)
    assert generation_folders.publish(staged(vault), vault.state, manifest(), [second]) == "g000003"


def test_training_goes_on_from_the_active_generation_alone(vault: Vault) -> None:
    """1. Two are published with what training goes on from. 2. The second is active. Result: the
    first has its mean alone and is sound; the second has both, and is damaged if that changes.
    """
    folders = []
    for number in (1, 2):
        out = staged(vault, f"r{number}")
        (out / generation_folders.LAST_WEIGHTS).write_bytes(b"l" * 100)
        name = generation_folders.publish(out, vault.state, manifest())
        folders.append(vault.state.generations / name)
    generation_folders.keep_means(vault.state, folders[1].name)
    assert [(f / generation_folders.LAST_WEIGHTS).exists() for f in folders] == [False, True]
    for folder in folders:
        assert generation_folders.LAST_WEIGHTS in generation_folders.verify(folder)["files"]
    (folders[1] / generation_folders.LAST_WEIGHTS).write_bytes(b"m" * 100)
    with pytest.raises(GenerationError):
        generation_folders.verify(folders[1])


@pytest.mark.parametrize("harm", ["change", "remove", "add", "manifest", "link"])
def test_a_damaged_generation_is_told(vault: Vault, harm: str) -> None:
    folder = vault.state.generations / generation_folders.publish(
        staged(vault), vault.state, manifest()
    )
    weights = folder / "adapter_model.safetensors"
    if harm == "change":
        weights.write_bytes(b"v" * 100)
    elif harm == "remove":
        weights.unlink()
    elif harm == "add":
        (folder / "adapter_model.bin").write_bytes(b"pickle")
    elif harm == "manifest":
        (folder / "manifest.json").write_text('{"files": ')
    else:
        weights.rename(vault.root / "elsewhere")
        weights.symlink_to(vault.root / "elsewhere")
    with pytest.raises(GenerationError) as error:
        generation_folders.verify(folder)
    assert "rollback" in error.value.mend


def test_loosened_modes_are_tightened(vault: Vault) -> None:
    folder = vault.state.generations / generation_folders.publish(
        staged(vault), vault.state, manifest()
    )
    os.chmod(folder / "adapter_model.safetensors", 0o644)
    generation_folders.verify(folder)
    assert (folder / "adapter_model.safetensors").stat().st_mode & 0o777 == 0o600


def test_what_is_no_adapter_is_refused(vault: Vault) -> None:
    out = staged(vault)
    (out / "adapter_model.safetensors").unlink()
    with pytest.raises(GenerationError):
        generation_folders.publish(out, vault.state, manifest())
    assert generation_folders.published(vault.state) == []


def test_prune_keeps_the_newest_and_the_spared(vault: Vault) -> None:
    for i in range(6):
        generation_folders.publish(staged(vault, f"r{i}"), vault.state, manifest())
    assert generation_folders.prune(vault.state, 2, {"g000001", "g000006"}) == [
        "g000002",
        "g000003",
    ]
    assert generation_folders.published(vault.state) == ["g000001", "g000004", "g000005", "g000006"]


class Killed(BaseException):
    """The process is gone: nothing may catch this and go on."""


def _kill_at(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let the `number`th replace, fsync, rename or chmod raise Killed, and all later ones."""
    count = [0]

    def guarded(real: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            count[0] += 1
            if count[0] >= number:
                raise Killed
            return real(*args, **kwargs)

        return call

    for name in ("replace", "fsync", "rename", "chmod"):
        monkeypatch.setattr(os, name, guarded(getattr(os, name)))


@pytest.mark.parametrize("number", [1, 5, 9, 13, *range(17, 31)])
def test_a_kill_at_any_step_of_closing_a_round_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """1. A vault has an active generation g000001. 2. A round trains g000002. 3. While it is
    published and committed the process is killed before the `number`th write, sync or rename.
    4. The next start repairs, and a round runs.
    Result: the active generation is valid at every moment, is g000001 or g000002, its text is
    learned exactly when it is g000002, and the next round ends well.
    """
    vault = Vault(tmp_path)
    vault.fill(30, paragraphs=3, words=30)
    train(vault)
    vault.write(
        "new.md",
        "\n\n".join(f"A new paragraph number {i} " + "with some more words " * 6 for i in range(2)),
    )
    trainer = FakeTrainer()
    with monkeypatch.context() as patch:
        trainer.before_answer = lambda folder: _kill_at(patch, number)
        with contextlib.suppress(Killed):
            run_round(
                vault.state,
                vault.settings,
                trainer=trainer,
                base=FakeBase(),
                now=lambda: NOW,
                manual=True,
            )
    with Ledger.open(vault.state) as ledger:
        repair(vault.state, ledger, NOW)
        active = ledger.generations.active()
        assert active in ("g000001", "g000002")
        generation_folders.verify(vault.state.generations / active)
        assert (ledger.pending(NOW, 0).words == 0) == (active == "g000002")
        assert set(generation_folders.published(vault.state)) == {
            g.id for g in ledger.generations.all()
        }
    answer = train(vault)
    assert answer["kind"] == ("none" if active == "g000002" else "incremental")
    assert not list(vault.state.staging.iterdir())


def test_a_row_whose_folder_is_damaged_falls_back_to_the_newest_valid_one(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    vault.fill(30, paragraphs=3, words=30)
    for i in range(3):
        vault.write(f"more{i}.md", f"More text {i}. " + f"word{i} " * 40)
        answer = train(vault)
        assert answer["verdict"]["promoted"], answer["verdict"]
    (vault.state.generations / "g000003" / "adapter_model.safetensors").write_bytes(b"\0" * 8)
    with Ledger.open(vault.state) as ledger:
        mended = repair(vault.state, ledger, NOW)
        assert ledger.generations.active() == "g000002" and "g000002 is active" in mended[-1]
        assert ledger.pending(NOW, 0).words > 0


def test_half_an_erasure_is_finished(vault: Vault) -> None:
    name = generation_folders.publish(staged(vault), vault.state, manifest())
    doomed = vault.state.generations / f".erasing-{name}"
    (vault.state.generations / name).rename(doomed)
    generation_folders.sweep(vault.state)
    assert not doomed.exists()


def test_the_manifest_is_plain_json(vault: Vault) -> None:
    name = generation_folders.publish(staged(vault), vault.state, manifest())
    assert json.loads((vault.state.generations / name / "manifest.json").read_text())["id"] == name
    assert files.sha256_file(vault.state.generations / name / "README.md")
