"""vaultgpt is upgraded while its daemon runs: a real daemon of a copy of the package."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.daemon.conftest import state  # noqa: F401
from tests.daemon.serving import ROOT, SERVE, Serving, wait_for
from vaultgpt.errors import VaultGPTError
from vaultgpt.files import read_json
from vaultgpt.settings import save_option
from vaultgpt.state import VaultState
from vaultgpt.tasks.doctor import check_vault
from vaultgpt.tasks.vault_service import find_daemon

pytestmark = pytest.mark.skipif(os.name != "posix", reason="there a daemon can't begin anew")
WORKER = Path("mirror") / "mirror_worker.py"
SHARING = Path("mirror") / "sharing.py"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Our modules, as an installation of their own."""
    copied = tmp_path / "site" / "vaultgpt"
    weights = shutil.ignore_patterns("__pycache__", "pebble")
    shutil.copytree(ROOT / "vaultgpt", copied, ignore=weights)
    (copied / "pebble").symlink_to(ROOT / "vaultgpt" / "pebble")
    return copied


@pytest.fixture
def daemon(
    state: VaultState,  # noqa: F811
    package: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Serving]:
    save_option(state.config, "training.pause", True)

    def spawn(served: VaultState) -> subprocess.Popen[str]:
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        pipes["cwd"] = package.parent  # python -c imports from there first
        env = {**os.environ, "PYTHONPATH": str(package.parent)}
        return subprocess.Popen([sys.executable, "-c", SERVE, str(served.vault)], env=env, **pipes)

    monkeypatch.setattr("tests.daemon.serving.spawn", spawn)
    with Serving(state) as serving:
        serving.scanned()
        yield serving


def upgrade(package: Path, *renamed: Path) -> None:
    """Another version, whose mirror's worker is another module, as are those that are `renamed`:
    with the old name none starts."""
    modules = [WORKER, *renamed]
    for path in package.rglob("*.py"):
        text = path.read_text("utf-8")
        changed = text.replace('"0.1.0"', '"0.1.1"')
        for module in modules:
            folder = module.parent.name
            changed = changed.replace(f"{folder}.{module.stem}", f"{folder}.other_{module.stem}")
        if changed != text:
            path.write_text(changed, "utf-8")
    for module in modules:
        (package / module).rename(package / module.with_name(f"other_{module.name}"))


def test_the_daemon_begins_anew_and_nobody_is_kept_out(daemon: Serving, package: Path) -> None:
    """1. A daemon runs, its worker does not. 2. Another vaultgpt is put in the place of its own.
    3. Meanwhile somebody asks again and again.

    Result: the same process, port and token answer as the new version; every question is answered,
    and the new version's worker writes.
    """
    before = read_json(daemon.state.runtime)
    over, failures = threading.Event(), []

    def ask_on() -> None:
        while not over.is_set():
            try:
                found = find_daemon(daemon.state)
                assert found is not None
                found.get("/v1/status")
            except Exception as error:
                failures.append(error)
            time.sleep(0.05)

    asking = threading.Thread(target=ask_on, daemon=True)
    asking.start()
    upgrade(package)
    wait_for(lambda: daemon.status()["version"] == "0.1.1", 90)
    over.set()
    asking.join()
    after = read_json(daemon.state.runtime)
    assert not failures
    assert after == {**before, "version": "0.1.1", "started": after["started"]}
    assert daemon.ask(prompt="I walked", max_tokens=3)["choices"][0]["text"]
    assert daemon.status()["problems"] == []
    status, _ = daemon.stop()
    assert status == 0 and not daemon.state.runtime.exists()


def test_it_waits_for_what_is_being_answered(daemon: Serving, package: Path) -> None:
    """1. Long texts are asked for. 2. An upgrade comes. Result: the texts come to their ends."""
    daemon.ask(prompt="I walked", max_tokens=1)
    whole: list[dict[str, Any]] = []
    body: dict[str, Any] = {"prompt": ["I walked"] * 16, "max_tokens": 220, "n": 8, "seed": 1}
    body["vaultgpt"] = {"length": "tokens"}
    asking = [threading.Thread(target=lambda: whole.append(daemon.ask(**body))) for _ in range(4)]
    for one in asking:
        one.start()
    upgrade(package)
    began = time.monotonic()
    for one in asking:
        one.join()
    assert time.monotonic() - began > 6, "long enough for the test"
    assert [len(answer["choices"]) for answer in whole] == [128] * 4
    wait_for(lambda: daemon.status()["version"] == "0.1.1", 90)


def test_one_that_does_not_start_is_said_and_the_daemon_goes_on(
    daemon: Serving, package: Path
) -> None:
    """1. Half an upgrade lies there: neither daemon nor worker would start. 2. It is made whole.

    Result: status, doctor, the log and whoever asks for text are told in one sentence; with 2 the
    daemon begins anew by itself.
    """
    serving = package / "daemon" / "serving.py"
    kept = serving.read_text("utf-8")
    serving.write_text("import nothing_of_this_name\n", "utf-8")
    (package / WORKER).rename(package / "aside")
    sentence = "vaultgpt was upgraded; restart `vaultgpt serve`."
    with pytest.raises(VaultGPTError, match="vaultgpt was upgraded"):
        daemon.ask(prompt="I walked", max_tokens=3)
    wait_for(lambda: sentence in daemon.status()["problems"], 90)
    with pytest.raises(VaultGPTError) as refused:
        daemon.ask(prompt="I walked", max_tokens=3)
    assert refused.value.message == sentence
    (found,) = [f for f in check_vault(daemon.state) if f.name == "daemon"]
    assert not found.ok and found.message == sentence
    assert "vaultgpt was upgraded" in (daemon.state.logs / "daemon.log").read_text("utf-8")
    (package / "aside").rename(package / WORKER)
    serving.write_text(f"{kept}\n# other\n", "utf-8")
    wait_for(lambda: "listening" in daemon_log(daemon)[1:], 90)
    assert daemon.ask(prompt="I walked", max_tokens=3)["choices"][0]["text"]


def test_one_whose_daemon_is_made_of_other_modules_is_taken_for_one_that_starts(
    package: Path,
) -> None:
    """1. A process of a daemon's. 2. An upgrade, with other names for the modules of daemon,
    service and engine. Result: it is found whole: nobody waits for a name that is gone.
    """
    boot = (
        "from vaultgpt import children; own = children.own_code(); children._RESTS_S = 0.0; "
        "print(flush=True); input(); print(own.replaced())"
    )
    env = {**os.environ, "PYTHONPATH": str(package.parent)}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", boot], cwd=package.parent, env=env, **pipes)
    assert process.stdout is not None and process.stdout.readline()
    upgrade(package, *(Path("daemon", f"{name}.py") for name in ("serving", "every")), SHARING)
    told, _ = process.communicate("\n", timeout=90)
    assert told.strip() == "True"


def test_daemons_and_engine_of_serve_all_follow_one_that_renames_their_modules(
    state: VaultState,  # noqa: F811
    package: Path,
) -> None:
    """1. `serve --all`, and a vault that writes in its engine. 2. An upgrade calls the modules of
    daemon and engine otherwise. 3. Somebody asks again and again.

    Result: the service's process is the same; daemon and engine are the new version's, and write.
    """
    save_option(state.config, "training.pause", True)
    service = subprocess.Popen(
        [sys.executable, "-m", "vaultgpt", "serve", "--all"],
        cwd=package.parent,
        env={**os.environ, "PYTHONPATH": str(package.parent)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def writes(version: str) -> bool:
        """Whether a daemon of that version has no problem and writes in the service's engine."""
        with contextlib.suppress(VaultGPTError, OSError, psutil.Error):
            if (daemon := find_daemon(state)) is not None:
                asked = {"prompt": "I walked", "max_tokens": 3}
                assert daemon.post("/v1/completions", asked)["choices"][0]["text"]
                told = daemon.get("/v1/status")
                engine = psutil.Process(told["worker"]["pid"])
                shared = engine.ppid() == service.pid
                return shared and not told["problems"] and told["version"] == version
        return False

    try:
        wait_for(lambda: writes("0.1.0"), 60)
        upgrade(package, Path("daemon", "serving.py"), SHARING)
        wait_for(lambda: writes("0.1.1"), 120)
    finally:
        service.terminate()
        assert service.wait(30) == 0


def daemon_log(daemon: Serving) -> list[str]:
    """The last words of the log's lines."""
    text = (daemon.state.logs / "daemon.log").read_text("utf-8")
    return [line.rpartition(" ")[2] for line in text.splitlines()]


def test_a_daemon_that_nobody_asks_for_anything_is_not_woken_to_look(daemon: Serving) -> None:
    def switches() -> int:
        threads = Path(f"/proc/{daemon.process.pid}/task").glob("*/status")
        lines = [line for one in threads for line in one.read_text().splitlines()]
        return sum(int(x.split()[1]) for x in lines if x.startswith("voluntary_ctxt_switches"))

    def quiet() -> bool:
        before = switches()
        time.sleep(3)
        return switches() == before

    daemon.status()
    wait_for(quiet, 40)


def test_what_only_looks_new_is_no_upgrade(daemon: Serving, package: Path) -> None:
    started = read_json(daemon.state.runtime)["started"]
    for path in package.rglob("*.py"):
        os.utime(path)
    end = time.monotonic() + 7
    while time.monotonic() < end:
        assert daemon.status()["problems"] == []
        time.sleep(0.2)
    assert read_json(daemon.state.runtime)["started"] == started
