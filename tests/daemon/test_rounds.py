"""Real rounds of a real daemon: a trainer process, a verdict, a swap, and its end on request."""

from __future__ import annotations

import threading
import time
from typing import Any

import psutil

from tests.daemon.serving import Serving, wait_for
from vaultgpt.settings import save_option
from vaultgpt.state import VaultState

PATIENCE_S = 300  # the trainer runs at the lowest priority: others' work goes first


def trainer(daemon: Serving) -> psutil.Process | None:
    """The running trainer worker."""
    for child in daemon.workers():
        try:
            if "vaultgpt.training.trainer_worker" in " ".join(child.cmdline()):
                return child
        except psutil.Error:
            continue
    return None


def test_the_first_generation_comes_by_itself_and_writes(state: VaultState) -> None:
    """1. A vault of 3,000 words, never trained. 2. serve. 3. Somebody writes meanwhile.

    Result: a round starts by itself in a niced process of our session, its verdict and swap are
    told, and answers are soon the new generation's.
    """
    for key, value in (("learning_rate", 0.02), ("epochs", 6), ("threads", 1)):
        save_option(state.config, f"training.{key}", value)  # what a random tiny base needs
    with Serving(state) as daemon:
        heard: list[tuple[str, Any]] = []
        listener = threading.Thread(target=lambda: heard.extend(_heard(daemon)), daemon=True)
        listener.start()
        worker = wait_for(lambda: trainer(daemon), 60)
        wait_for(lambda: worker.nice() == 19, 30)  # it lowers itself as it starts
        assert str(state.vault) not in " ".join(worker.cmdline())
        assert writer(daemon) == "base"
        assert daemon.status()["training"] is not None
        status = wait_for(lambda: (s := daemon.status())["last_verdict"] and s, PATIENCE_S)
        assert status["last_verdict"]["promoted"], status["last_verdict"]
        assert status["active"] == "g000001"
        wait_for(lambda: writer(daemon) == "g000001", PATIENCE_S)  # read in moments later
        report = daemon.client.get("/v1/report")
        assert report["bits_per_byte"]["held_out"] < (report["bits_per_byte"]["held_out_base"])
        assert daemon.stop()[0] == 0
        listener.join(10)
    names = [name for name, _ in heard]
    assert {"progress", "verdict", "swap"} <= set(names)
    verdict = dict(heard)["verdict"]
    assert verdict["generation"] == "g000001" and verdict["kind"] == "fresh"


def writer(daemon: Serving) -> str:
    """The generation that answers."""
    return str(daemon.ask(prompt="I walked", max_tokens=2)["vaultgpt"]["generation"])


def _heard(daemon: Serving) -> list[tuple[str, Any]]:
    try:
        return list(daemon.client.stream("/v1/events"))
    except OSError:
        return []


def test_a_round_is_cancelled_and_the_daemon_stops_during_one(state: VaultState) -> None:
    """1. A round runs. 2. It is cancelled. 3. Another is asked for, and given up as it runs; 4. one
    more. 5. SIGINT in its middle.

    Result: each time the trainer has gone within seconds; 3 leaves no text and does not begin again
    by itself; the daemon ends with status 0.
    """
    with Serving(state) as daemon:
        first = wait_for(lambda: trainer(daemon), 60)
        daemon.client.post("/v1/train/cancel", {})
        wait_for(lambda: not first.is_running() and daemon.status()["training"] is None, 15)
        assert "cancelled" in wait_for(
            lambda: (w := daemon.status()["next_training"]["why"]) != "A round is running." and w
        )
        assert daemon.client.post("/v1/train", {})["kind"] == "fresh"
        given_up = wait_for(lambda: trainer(daemon), 60)
        assert daemon.client.post("/v1/train/give-up", {})["given_up"]
        assert not given_up.is_running() and not list(state.staging.iterdir())
        assert not daemon.client.post("/v1/train/give-up", {})["given_up"]
        assert daemon.client.post("/v1/train", {})["kind"] == "fresh"
        second = wait_for(lambda: trainer(daemon), 60)
        began = time.monotonic()
        status, _ = daemon.stop()
        assert status == 0 and time.monotonic() - began < 6
        assert not second.is_running() or second.status() == psutil.STATUS_ZOMBIE
