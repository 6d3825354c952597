"""A language that the base has not read: said in plain words, wherever a writer meets it.

Knows nothing about terminals, HTTP or notes on the disk.
"""

from __future__ import annotations

from vaultgpt.bases.catalogue import PEBBLE, known_base, reads_only_english
from vaultgpt.corpus.words import language_of

LANGUAGES = {
    "en": "English",
    "de": "German",
    "fr": "French",
    "es": "Spanish",
    "it": "Italian",
    "nl": "Dutch",
    "pt": "Portuguese",
    "zh": "Chinese",
    "ja": "Japanese",
    "ko": "Korean",
    "ru": "Russian",
    "uk": "Ukrainian",
    "ar": "Arabic",
    "fa": "Persian",
    "he": "Hebrew",
    "el": "Greek",
    "hi": "Hindi",
    "bn": "Bengali",
    "ta": "Tamil",
    "th": "Thai",
    "ka": "Georgian",
    "hy": "Armenian",
}


def _read_by(base: str) -> tuple[str, ...]:
    """What a base is known to have read alone; () where it is many, or not known."""
    known = known_base(base)
    return ("en",) if reads_only_english(base) else known.languages if known else ()


def _called(base: str) -> str:
    known = known_base(base)
    return "pebble" if base == PEBBLE else known.name if known else "your base"


def unread(base: str, language: str | None, chosen: str | None = None) -> str | None:
    """What is to be expected of notes in a language ("de"); None where the base reads it, or where
    nobody knows. `base` writes; `chosen` is the settings', which may have learned nothing yet."""
    read = _read_by(base)
    if language is None or not read or language in read:
        return None
    said, model = LANGUAGES.get(language, language), _called(base)
    mend = "`vaultgpt base` lists models that read more."
    if chosen not in (None, base) and unread(chosen, language) is None:
        mend = f"{_called(chosen)}, which you chose, writes once it has learned: `vaultgpt train`."
    only = "only English" if read == ("en",) else f"no {said}"
    return (
        f"This looks like {said}, and {model}, the model that your voice is made from, has read "
        f"{only}: what it writes here will make no sense. {mend}"
    )


def unread_text(base: str, text: str, chosen: str | None = None) -> str | None:
    """The same of a text, where it is long enough to tell its language."""
    if not text or not _read_by(base):
        return None
    return unread(base, language_of(text), chosen)
