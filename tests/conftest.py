"""What every test gets: a state root of its own, no network but loopback, few threads.

Knows nothing about any one part of vaultgpt.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

# Read at import by torch, tokenizers and huggingface_hub, here and in the workers that tests start.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_XET"] = "1"
for _name in ("HF_TOKEN", "HF_ENDPOINT", "HF_HOME", "HF_HUB_CACHE"):
    os.environ.pop(_name, None)

# Two trainers of two threads each on two cores crawl: every process of tests keeps to a core of its
# own, and the workers that it starts inherit that.
if (_worker := os.environ.get("PYTEST_XDIST_WORKER")) and hasattr(os, "sched_setaffinity"):
    _cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {_cores[int(_worker.removeprefix("gw")) % len(_cores)]})

from tests import tiny  # noqa: E402

_LOOPBACK = ("localhost", "ip6-localhost", "::1", "0.0.0.0", "::", "", None)


# Of the files that take long, the longest begin first, and what starts processes fills up the end:
# with --no-loadscope-reorder two runners end together.
_LONGEST = ("e2e/test_gate_for_real.py", "e2e/test_demo.py", "daemon/test_rounds.py")
_WITH_PROCESSES = {"daemon", "e2e", "faults", "security", "server", "soak", "tasks", "workers"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast files, then the longest, then the others that start processes."""

    def turn(item: pytest.Item) -> int:
        name = item.path.relative_to(ROOT / "tests").as_posix()
        if name in _LONGEST:
            return 1 + _LONGEST.index(name)
        return 9 if name.partition("/")[0] in _WITH_PROCESSES else 0

    items.sort(key=turn)


class NetworkBlocked(RuntimeError):
    """A test reached for the network. No OSError: no code under test may take it for an outage."""


def _is_loopback(address: Any) -> bool:
    host = address[0] if isinstance(address, tuple) else address
    host = host.decode() if isinstance(host, bytes) else host
    return host in _LOOPBACK or (isinstance(host, str) and host.startswith("127."))


@pytest.fixture(autouse=True, scope="session")
def no_network() -> Iterator[None]:
    """Refuse every connection and every name look-up that is not loopback."""
    import socket

    patch = pytest.MonkeyPatch()
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex
    getaddrinfo = socket.getaddrinfo

    def check(address: Any) -> None:
        if isinstance(address, tuple) and not _is_loopback(address):
            raise NetworkBlocked(f"connection to {address[0]!r}")

    def guarded_connect(self: Any, address: Any) -> Any:
        check(address)
        return connect(self, address)

    def guarded_connect_ex(self: Any, address: Any) -> Any:
        check(address)
        return connect_ex(self, address)

    def guarded_getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        if not _is_loopback(host):
            raise NetworkBlocked(f"look-up of {host!r}")
        return getaddrinfo(host, *args, **kwargs)

    patch.setattr(socket.socket, "connect", guarded_connect)
    patch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
    patch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)
    yield
    patch.undo()


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A private VAULTGPT_HOME and Hugging Face cache for every test, outside of its tmp_path."""
    root = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("VAULTGPT_HOME", str(root / "vaultgpt"))
    monkeypatch.setenv("HF_HOME", str(root / "huggingface"))
    return root / "vaultgpt"


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """tiny_models("gpt2", **options of tiny.tiny_model) -> its folder, made once a session.

    The folders are shared: tests read them and never write there.
    """
    made: dict[tuple[Any, ...], Path] = {}

    def build(family: str = "llama", **options: Any) -> Path:
        key = (family, *sorted(options.items()))
        if key not in made:
            folder = tmp_path_factory.mktemp(f"tiny-{family}")
            made[key] = tiny.tiny_model(folder, family, **options)
        return made[key]

    return build


@pytest.fixture(scope="session")
def tiny_llama(tiny_models: Callable[..., Path]) -> Path:
    """The folder of a tiny random Llama model (float32, byte-level tokenizer)."""
    return tiny_models("llama")


@pytest.fixture(scope="session")
def tiny_gpt2(tiny_models: Callable[..., Path]) -> Path:
    """The folder of a tiny random GPT-2 model (Conv1D, biases, learned positions)."""
    return tiny_models("gpt2")


@pytest.fixture(scope="session")
def tiny_writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny Llama that writes words (float32, byte-level tokenizer)."""
    return tiny.tiny_writer(tmp_path_factory.mktemp("tiny-writer"))


@pytest.fixture
def vault(tmp_path: Path) -> Path:
    """A vault of 24 dated, tagged notes, 3,000 words, in tmp_path / "vault"."""
    folder = tmp_path / "vault"
    tiny.tiny_vault(folder)
    return folder


@pytest.fixture
def unplug(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Let the drive of a folder answer nothing, as a network's or FUSE's that has died does."""
    answers, dead = os.stat, set[str]()

    def stat(path: Any, *given: Any, **named: Any) -> os.stat_result:
        if not isinstance(path, int) and os.fspath(path) in dead:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN), os.fspath(path))
        return answers(path, *given, **named)

    monkeypatch.setattr(os, "stat", stat)
    return lambda folder: dead.add(str(folder))
