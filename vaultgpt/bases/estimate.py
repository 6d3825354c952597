"""What this machine can do: which bases fit it, how long training takes, whether a round has room.

A guess, said as one. Knows nothing about what a round does beyond its count of tokens. Imports no
torch: the graphics card is asked through its own tool.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from vaultgpt.bases.catalogue import ADVISED, Known, known_base, learning_gb
from vaultgpt.bases.model import Base
from vaultgpt.bases.names import models_root
from vaultgpt.children import program
from vaultgpt.errors import StateError
from vaultgpt.files import free_bytes
from vaultgpt.settings import Training
from vaultgpt.state import VaultState

# Parameters times trained tokens a second and core, in float32 and where the processor multiplies
# bfloat16. Measured on 2 cores: a model of 6.9 M 3,500 tokens/s, GPT-2 (124 M) 150, 1.2e10 and
# 0.9e10; in bfloat16 SmolLM2-135M 331 to 352 by autograd, 2.3e10, pebble 6,200, 3.6e10.
_PARAMETER_TOKENS_PER_S, _IN_BF16 = 1.2e10, 2.4e10
_CORE_EXPONENT = 0.8  # speed grows with cores to this power; a guess beyond the 2 measured
_FORWARD_SPEEDUP = 3.0  # a scored token costs a third of a trained one
_START_S = 10.0  # starting the worker and loading the base
# Tokens a word, measured on journals: vocabularies of 8,192 and of 50,257; German on either takes
# 1.6 times as many.
TOKENS_PER_WORD_SMALL, _TOKENS_PER_WORD = 1.6, 1.45
_SMALL_VOCAB = 20_000
_FOREIGN = 1.6
_HELD_OUT_SHARE, _HELD_OUT_MOST_WORDS, _HELD_OUT_LEAST_TOKENS = 0.05, 50_000, 24 * 256
# Passes of a fresh round: after one, two and three pebble had 1.503, 1.494 and 1.505 bits per byte
# (10,000 words), SmolLM2-135M 1.259, 1.229 and 1.244 (the example vault), on Emily Dickinson 1.525,
# 1.516 and 1.543, Gemma 3 270M 13.7, 15.2 and 13.2 % fewer than its base.
FRESH_PASSES = 2.0
_LOOKS_PER_EPOCH, _OTHER_LOOKS = 4, 3  # evaluations; the others score base, before and after
_ASK_S = 5.0
_KEPT_GB = 1.0  # of disk, left free
# English: SmolLM2 is what we measured. Other languages: the plain multilingual ones without terms,
# the larger first.
_ENGLISH = ("HuggingFaceTB/SmolLM2-135M",)
_OTHER = ("Qwen/Qwen3-0.6B-Base", "ibm-granite/granite-4.0-350m-base")
# Of disk: a checkpoint, the adapter, where its training goes on, and the text are all less than the
# base itself in fp32.
_ROUND_BYTES, _PARAMETER_BYTES = 32 << 20, 4
_CERTAIN = 0.8  # of the memory foreseen: what is less than that is surely too little


@dataclass(frozen=True)
class Estimate:
    """Seconds of the first, budgeted round and of a full one, which reads `tokens`."""

    first_s: float
    full_s: float
    tokens: int
    tokens_per_s: float
    device: str  # "cpu", "cuda" or "mps"
    paced: bool = False  # by what a round on this base reached here

    @property
    def measured(self) -> bool:
        """Whether the figures rest on measurements of this kind of device, or of this very one."""
        return self.paced or self.device == "cpu"

    @property
    def in_one(self) -> bool:
        """Whether the first round already learns the whole vault."""
        return self.full_s <= self.first_s


def estimate(
    words: int,
    parameters: int,
    *,
    vocab: int = _SMALL_VOCAB,
    foreign: bool = False,
    training: Training | None = None,
    cores: int | None = None,
    device: str | None = None,
    tokens_per_s: float | None = None,
) -> Estimate:
    """The time that rounds over `words` words of prose take with a base of `parameters`.

    `foreign`: the base's tokenizer was made for another language. A GPU is taken to be as fast as
    this machine's cores, which it exceeds by far; `Estimate.measured` is then False. `tokens_per_s`
    are those that a round on this base reached on this machine."""
    training = training or Training()
    device = device or guess_device(training.device)
    count = cores or usable_cores(training.threads)
    effective = 2 * (count / 2) ** _CORE_EXPONENT
    speed = _IN_BF16 if device == "cpu" and _multiplies_bf16() else _PARAMETER_TOKENS_PER_S
    rate = tokens_per_s or speed * effective / max(parameters, 1)
    per_word = TOKENS_PER_WORD_SMALL if vocab < _SMALL_VOCAB else _TOKENS_PER_WORD
    per_word *= _FOREIGN if foreign else 1.0
    scored = max(
        min(_HELD_OUT_SHARE * words, _HELD_OUT_MOST_WORDS) * per_word, _HELD_OUT_LEAST_TOKENS
    )
    passes = training.epochs or FRESH_PASSES
    learned = max(words * per_word - scored, 0.0) * passes
    looks = _LOOKS_PER_EPOCH * passes + _OTHER_LOOKS
    full_s = _START_S + (learned + looks * scored / _FORWARD_SPEEDUP) / rate
    return Estimate(
        min(full_s, training.first_round_s), full_s, int(learned), rate, device, bool(tokens_per_s)
    )


def guess_device(setting: str = "auto") -> str:
    """The kind of device a round will run on, without importing torch."""
    if setting != "auto":
        return setting.split(":")[0]
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return "mps"
    return "cuda" if shutil.which("nvidia-smi") else "cpu"


@cache
def _multiplies_bf16() -> bool:
    """Whether the processor says that it multiplies bfloat16; only Linux is asked."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", flags) is not None


def usable_cores(threads: int = 0) -> int:
    """Physical cores that this process may use; `threads` where the settings name a number."""
    if threads:
        return threads
    import psutil  # 10 ms, which who only asks for what is known need not pay

    physical = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else physical
    return max(1, min(physical, allowed))


def human(seconds: float) -> str:
    """ "under a minute", "about 3 minutes", "about 2 hours", "about 4 days"."""
    if seconds < 50:
        return "under a minute"
    for size, word, until in ((60, "minute", 50), (3600, "hour", 36), (86400, "day", 1e9)):
        count = round(seconds / size)
        if count <= until:
            count = max(count, 1)
            return f"about {count} {word}s" if count > 1 else f"about {_one(word)}"
    return "a very long time"


def _one(word: str) -> str:
    return f"an {word}" if word.startswith("hour") else f"a {word}"


@dataclass(frozen=True)
class _Machine:
    """Decimal gigabytes: memory in all, free disk where models lie, the largest card's memory."""

    memory_gb: float
    disk_gb: float
    card_gb: float = 0.0
    bf16: bool = True  # its processor multiplies it


def this_machine() -> _Machine:
    """What this machine has."""
    import psutil

    memory = psutil.virtual_memory().total / 1e9
    return _Machine(memory, free_bytes(models_root()) / 1e9, _card_gb(), _multiplies_bf16())


def _card_gb() -> float:
    """The largest NVIDIA card's memory; 0 without one. Apple's shares the machine's own."""
    tool = program("nvidia-smi")
    if tool is None:
        return 0.0
    query = [tool, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, timeout=_ASK_S, check=True, text=True)
        return max(float(line) * 2**20 / 1e9 for line in done.stdout.split())
    except (OSError, ValueError, subprocess.SubprocessError):
        return 0.0


def _misfit(known: Known, machine: _Machine) -> str:
    """Why a base does not fit, as the end of "it ..."; "" when it does."""
    if (needs := known.learning_gb(bf16=machine.bf16)) > max(machine.memory_gb, machine.card_gb):
        return f"needs {needs:.0f} GB of memory"
    if known.gigabytes + _KEPT_GB > machine.disk_gb and not _is_here(known):
        return f"needs {known.gigabytes + _KEPT_GB:.0f} GB of disk"
    return ""


def _is_here(known: Known) -> bool:
    """Whether any revision of it was downloaded."""
    folder: Path = models_root() / known.name.replace("/", "--")
    return any(folder.glob("*/vaultgpt-base.json"))


def advised(language: str | None, machine: _Machine) -> Known | None:
    """The base to offer for notes in a language ("en", None for unknown); None when none fits."""
    wanted = [known_base(name) for name in (_ENGLISH if language == "en" else _OTHER)]
    fitting = (k for k in wanted if k and not _misfit(k, machine))
    return next((k for k in fitting if not k.languages or language in (None, *k.languages)), None)


def fitting() -> list[tuple[Known, float, str]]:
    """The catalogue; the gigabytes that each learns in here, and why it does not fit, or ""."""
    here = this_machine()
    return [(known, known.learning_gb(bf16=here.bf16), _misfit(known, here)) for known in ADVISED]


def require_disk_and_memory(
    state: VaultState, base: Base, training: Training, *, learns_here: bool = True
) -> None:
    """StateError with both figures where the disk or, on the CPU, the memory will not do."""
    disk = _ROUND_BYTES + _PARAMETER_BYTES * base.parameters
    if (free := shutil.disk_usage(state.folder).free) < disk:
        raise StateError(
            f"A round takes up to {disk / 1e6:,.0f} MB of disk, and {free / 1e6:,.0f} MB are "
            f"free where the state lies.",
            "Free some there, or keep fewer voices (`vaultgpt config training.keep 2`).",
        )
    if not learns_here or guess_device(training.device) != "cpu":
        return
    memory, free_gb = _foreseen_gb(base, training.dtype), _free_gb()
    if free_gb < _CERTAIN * memory:
        raise StateError(
            f"A round on {base.name} takes about {memory:.1f} GB of memory, and {free_gb:.1f} GB "
            f"are free.",
            "Close other programs, or choose a smaller base (`vaultgpt base` lists what fits).",
        )


def _foreseen_gb(base: Base, dtype: str) -> float:
    bf16 = _multiplies_bf16() if dtype == "auto" else dtype == "bfloat16"
    if (known := known_base(base.name)) is not None:
        return known.learning_gb(bf16=bf16)
    embedding = base.vocab * base.hidden * (1 if base.tied else 2)
    return learning_gb(base.parameters, embedding, bf16=bf16)


def _free_gb() -> float:
    import psutil  # which `status` does not need

    return (psutil.virtual_memory().available + psutil.swap_memory().free) / 1e9
