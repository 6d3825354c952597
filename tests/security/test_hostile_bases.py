"""Folders that call themselves a base: pickled weights, code beside, code asked for, huge files."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from vaultgpt.bases.names import resolve
from vaultgpt.errors import BaseModelError


class _Boom:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('the pickle ran')",)


def pickled_only(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(_Boom()))


def pickled_as_safetensors(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(pickle.dumps(_Boom()))


def asks_for_code(folder: Path) -> None:
    (folder / "modeling_evil.py").write_text("raise SystemExit('the base ran')")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoModelForCausalLM": "modeling_evil.Evil"}}
    (folder / "config.json").write_text(json.dumps(config))


def header_of_a_terabyte(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((1 << 40).to_bytes(8, "little") + b"{}")


def header_that_is_no_json(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((4).to_bytes(8, "little") + b"[[[[")


def deep_config(folder: Path) -> None:
    (folder / "config.json").write_text("[" * 200_000)


HARMS: list[Callable[[Path], None]] = [
    pickled_only,
    pickled_as_safetensors,
    asks_for_code,
    header_of_a_terabyte,
    header_that_is_no_json,
    deep_config,
]


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_a_hostile_base_is_refused_in_a_sentence_and_runs_nothing(
    tmp_path: Path, tiny_llama: Path, harm: Callable[[Path], None]
) -> None:
    """1. A folder that was a base is made hostile. 2. It is named as base. Result: one sentence
    with a mend; nothing of it was run.
    """
    folder = tmp_path / "base"
    shutil.copytree(tiny_llama, folder)
    harm(folder)
    with pytest.raises(BaseModelError) as refused:
        resolve(str(folder))
    assert refused.value.message and "ran" not in refused.value.message.split()
