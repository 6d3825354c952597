"""Well-known bases worth advising: size, licence, languages, and what to expect of each.

Figures are from the model cards on the hub; docs/bases.md shows the same table.
"""

from __future__ import annotations

from dataclasses import dataclass

ENGLISH = ("en",)


@dataclass(frozen=True)
class Known:
    """One published base. `languages` is empty when it reads many."""

    name: str
    parameters: int
    gigabytes: float  # to download, decimal
    licence: str
    languages: tuple[str, ...]


GPT2 = Known("openai-community/gpt2", 124_439_808, 0.55, "MIT", ENGLISH)
SMOLLM2 = Known("HuggingFaceTB/SmolLM2-135M", 134_515_008, 0.27, "Apache 2.0", ENGLISH)
SMOLLM2_360M = Known("HuggingFaceTB/SmolLM2-360M", 361_821_120, 0.72, "Apache 2.0", ENGLISH)
DISTILGPT2 = Known("distilbert/distilgpt2", 81_912_576, 0.35, "Apache 2.0", ENGLISH)
QWEN25 = Known("Qwen/Qwen2.5-0.5B", 494_032_768, 0.99, "Apache 2.0", ())
QWEN3 = Known("Qwen/Qwen3-0.6B-Base", 596_049_920, 1.19, "Apache 2.0", ())
ADVISED = (GPT2, SMOLLM2, SMOLLM2_360M, DISTILGPT2, QWEN25, QWEN3)

# Words in the last part of a name whose model has read little but English.
_ENGLISH_NAMES = ("gpt2", "smollm2", "pythia", "opt-", "gpt-neo", "tinyllama", "phi-")
_OTHER_NAMES = ("german", "french", "spanish", "italian", "dutch", "chinese", "japanese", "arabic")
_CHAT_ENDINGS = ("-instruct", "-chat", "-it", "-assistant", "-sft", "-dpo")


def reads_only_english(name: str) -> bool:
    """Whether a base of that name is known to have read little but English."""
    last = name.split("@")[0].rsplit("/", 1)[-1].lower()
    if name == "pebble":
        return True
    return any(w in last for w in _ENGLISH_NAMES) and not any(w in last for w in _OTHER_NAMES)


def is_chat_model(name: str) -> bool:
    """Whether the name says that the model was tuned to answer, which blurs an author's voice."""
    return name.split("@")[0].lower().endswith(_CHAT_ENDINGS)
