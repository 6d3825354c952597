"""What a release is made of: one version, workflows that parse, and the scripts that they call."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import vaultgpt
from vaultgpt.tasks.plugin import _BUILT, _FILES

ROOT = Path(__file__).parent.parent
PLUGIN = ROOT / "obsidian-plugin"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def steps(workflow: Path) -> list[dict[str, Any]]:
    found = yaml.safe_load(workflow.read_text(encoding="utf-8"))
    return [step for job in found["jobs"].values() for step in job["steps"]]


def test_one_version_stands_everywhere() -> None:
    lock = read_json(PLUGIN / "package-lock.json")
    said = {
        "manifest": read_json(PLUGIN / "manifest.json")["version"],
        "manifest at the root": read_json(ROOT / "manifest.json")["version"],
        "package": read_json(PLUGIN / "package.json")["version"],
        "lock": lock["version"],
        "lock's root": lock["packages"][""]["version"],
        "newest of versions": list(read_json(PLUGIN / "versions.json"))[-1],
        "built": read_json(_BUILT / "manifest.json")["version"],
    }
    assert set(said.values()) == {vaultgpt.__version__}, said
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## (\d+\.\d+\.\d+)", changes, re.MULTILINE)
    assert newest is not None and newest[1] == vaultgpt.__version__
    told = subprocess.run(
        [sys.executable, ROOT / "scripts" / "version"], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == vaultgpt.__version__


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
def test_git_gives_every_file_as_it_was_committed_on_windows_too() -> None:
    names = ["scripts/try-wheel", "Makefile", "examples/vault/Journal/2021/2021-11-03.md"]
    ask = ["git", "check-attr", "text", "--", *names]
    told = subprocess.run(ask, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert told.splitlines() == [f"{name}: text: unset" for name in names]


def test_a_new_version_is_written_wherever_it_stands(tmp_path: Path) -> None:
    names = ["vaultgpt/__init__.py", "scripts/version"]
    names += [f"obsidian-plugin/{n}.json" for n in ("manifest", "package", "package-lock")]
    names.append("obsidian-plugin/versions.json")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    program = [sys.executable, str(tmp_path / "scripts" / "version")]
    subprocess.run([*program, "8.9.10"], check=True, capture_output=True)
    for name in names:
        before = (ROOT / name).read_text(encoding="utf-8")
        after = (tmp_path / name).read_text(encoding="utf-8")
        if name.endswith("versions.json"):
            assert read_json(tmp_path / name)["8.9.10"] and vaultgpt.__version__ in after
        elif name != "scripts/version":
            again = after.replace('"8.9.10"', f'"{vaultgpt.__version__}"')
            assert again == before != after, name
    wrong = subprocess.run([*program, "v9"], capture_output=True, text=True)
    assert wrong.returncode == 1 and "three numbers" in wrong.stderr


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_a_workflow_parses_and_calls_what_is_there(path: Path) -> None:
    targets = set(re.findall(r"^([\w.-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for step in steps(path):
        assert ("uses" in step) != ("run" in step), step
        for called in re.findall(r"\bscripts/[\w-]+", step.get("run", "")):
            assert (ROOT / called).is_file() and os.access(ROOT / called, os.X_OK), called
        for target in re.findall(r"^make ([\w-]+)", step.get("run", ""), re.MULTILINE):
            assert target in targets, target


def test_every_workflow_uses_the_same_version_of_an_action() -> None:
    used: dict[str, set[str]] = {}
    for path in WORKFLOWS:
        for step in steps(path):
            name, _, version = step.get("uses", "").partition("@")
            if name:
                used.setdefault(name, set()).add(version)
    assert all(len(versions) == 1 for versions in used.values()), used


def test_the_tests_run_on_three_systems_and_three_pythons() -> None:
    matrix = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))["jobs"]["test"][
        "strategy"
    ]["matrix"]
    assert {name.split("-")[0] for name in matrix["os"]} == {"ubuntu", "macos", "windows"}
    stated = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text("utf-8"))
    assert matrix["python"] == stated == ["3.11", "3.12", "3.13"]


def test_a_release_carries_what_obsidian_fetches() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(f"vaultgpt/plugin_build/{name}" in makefile for name in _FILES)


def test_the_other_yaml_parses() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"]
    assert {hook["id"] for repo in hooks for hook in repo["hooks"]} >= {"ruff", "ruff-format"}
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert path.stem == "config" or {"name", "description", "body"} <= set(form)


@pytest.mark.skipif(os.name != "posix", reason="a shell script")
def test_without_make_the_tests_say_what_to_install(tmp_path: Path) -> None:
    """1. A machine with a shell, and nothing else. 2. .ci/run. Result: status 1 and three sentences
    for three systems.
    """
    for name in ("bash", "dirname"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    done = subprocess.run(
        [str(tmp_path / "bash"), str(ROOT / ".ci" / "run")],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and "need make and Python 3.11" in done.stderr
    assert all(f"On {system}" in done.stderr for system in ("Debian", "macOS", "Windows"))


def test_the_wheel_is_tried_as_a_newcomer_would() -> None:
    script = (ROOT / "scripts" / "try-wheel").read_text()
    for what in ("--version", "doctor", "plugin install", "demo"):
        assert f'/vaultgpt" {what}' in script, what
