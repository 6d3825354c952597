"""Processes of ours: a vault lends them no code, and no crash writes their memory to the disk."""

from __future__ import annotations

import ast
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vaultgpt.children import command, environment, program, spawn_options
from vaultgpt.wire import read_frame, write_frame

PACKAGE = Path(__file__).parents[2] / "vaultgpt"
MODULES = [
    "vaultgpt.mirror.mirror_worker",
    "vaultgpt.training.trainer_worker",
    "vaultgpt.report.job",
    "vaultgpt.training.expand",
    "vaultgpt.bases.kinds",
    "pip",
]
POISON = """
import os
with open(os.environ["POISON_MARK"], "a") as stream:
    stream.write(__file__ + "\\n")
raise SystemExit("the vault ran")
"""
NAMES = ["json", "struct", "torch", "numpy", "psutil", "transformers", "sitecustomize", "runpy"]


@pytest.fixture
def poisoned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A vault that is the current folder, holds modules, and stands in PYTHONPATH; its mark."""
    vault = tmp_path / "vault"
    for name in NAMES:
        path = vault / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(POISON)
    (vault / "vaultgpt").mkdir()
    (vault / "vaultgpt" / "__init__.py").write_text(POISON)
    monkeypatch.chdir(vault)
    monkeypatch.setenv("POISON_MARK", str(tmp_path / "mark"))
    monkeypatch.setenv("PYTHONPATH", f"{vault}{os.pathsep}")
    monkeypatch.setenv("PYTHONSTARTUP", str(vault / "json.py"))
    monkeypatch.setenv("PYTHONINSPECT", "")
    return vault, tmp_path / "mark"


@pytest.mark.parametrize("module", MODULES)
def test_no_child_imports_from_the_current_folder_or_the_environment(
    poisoned: tuple[Path, Path], module: str
) -> None:
    """1. The current folder, a vault, holds json.py, torch.py and more; PYTHONPATH names it. 2. The
    child is started. Result: nothing of it is imported, and the child stands outside the vault.
    """
    _, mark = poisoned
    child = subprocess.Popen(
        command(module, "--version") if module == "pip" else command(module, "qwen3_moe"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        **spawn_options(),
    )
    place = f"/proc/{child.pid}/cwd"
    where = os.readlink(place) if os.path.exists(place) else "/"
    said, errors = child.communicate(timeout=100)
    assert not mark.exists(), mark.read_text()
    assert where == "/" and b"the vault ran" not in said + errors
    assert not [name for name in environment() if name.startswith("PYTHON")]
    if module in ("pip", "vaultgpt.bases.kinds"):
        assert child.returncode == 0 and said, errors


def test_the_command_line_runs_no_code_of_the_folder_it_stands_in(
    poisoned: tuple[Path, Path], tmp_path: Path
) -> None:
    """1. `vaultgpt base DIR` is run in a vault that holds json.py; DIR is of a type that must be
    looked up. Result: one clear line, nothing of the vault was imported.
    """
    vault, mark = poisoned
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "unheard_of", "vocab_size": 7}')
    (folder / "model.safetensors").write_bytes(b"\2\0\0\0\0\0\0\0{}")
    (folder / "tokenizer.json").write_text("{}")
    run = [sys.executable, "-P", "-m", "vaultgpt"]  # as the installed program, without the folder
    plain = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    for arguments in (["init", str(vault), "--no-plugin", "--json"], ["base", str(folder)]):
        done = subprocess.run(
            [*run, *arguments], cwd=vault, env=plain, capture_output=True, text=True, timeout=100
        )
        assert not mark.exists(), mark.read_text()
    assert done.returncode == 1 and "unheard_of model" in done.stderr, done.stderr


def test_every_python_child_is_started_by_children_py() -> None:
    for path in PACKAGE.rglob("*.py"):
        used = [
            node
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.List | ast.Tuple)
            for one in node.elts[:1]
            if isinstance(one, ast.Attribute) and one.attr == "executable"
        ]
        apart = ("'pip'", "'-P'")  # a command that is told to the author; the service at login
        said = [n for n in used if not any(a in ast.dump(e) for e in n.elts for a in apart)]
        assert path.name == "children.py" or not said, path


def test_a_program_is_not_taken_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 99\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f".{os.pathsep}{os.pathsep}")
    assert program("nvidia-smi") is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program("nvidia-smi") == str(tmp_path / "nvidia-smi")


def dumped(child: subprocess.Popen[bytes]) -> bool:
    """Whether the system wrote a core of a child that is sent SIGABRT."""
    os.kill(child.pid, signal.SIGABRT)
    _, status = os.waitpid(child.pid, 0)
    child.returncode = -signal.SIGABRT
    for stream in (child.stdin, child.stdout, child.stderr):
        if stream is not None:
            stream.close()
    assert os.WIFSIGNALED(status)
    return os.WCOREDUMP(status)


@pytest.mark.skipif(sys.platform != "linux", reason="a core is told of in the status on Linux")
@pytest.mark.parametrize(
    "module", ["vaultgpt.mirror.mirror_worker", "vaultgpt.training.trainer_worker"]
)
def test_a_crash_of_a_worker_leaves_no_core(module: str, tmp_path: Path) -> None:
    """1. Cores are allowed; another Python's crash leaves one. 2. A worker that has heard its first
    words crashes. Result: the system wrote none of its memory.
    """
    if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0:
        pytest.skip("cores are not allowed here")

    def allow() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)
        os.chdir(tmp_path)

    plain = subprocess.Popen(
        [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=allow,
    )
    assert plain.stdout and plain.stdout.readline()
    if not dumped(plain):
        pytest.skip("this system writes no cores")
    child = subprocess.Popen(
        command(module),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(),
        preexec_fn=allow,
    )
    assert child.stdin and child.stdout
    write_frame(child.stdin, {"op": "none", "job": "/nowhere/a secret sentence"})
    assert read_frame(child.stdout)
    assert not dumped(child)
