"""Finds what must never be said again: addresses, numbers and keys in the author's text.

Masked text stays readable context; it carries no loss. Knows nothing about tokens or notes.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable

Range = tuple[int, int]

_EMAIL = re.compile(r"[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[A-Za-z]{2,24}")
# Groups of digits with separators: phone and card numbers. Judged by their digits below.
_DIGITS = re.compile(r"(?<![\w.,])\+?\(?\d(?:[\d()]|[ ./-](?=[\d(])|\) (?=\d)){5,28}\d(?![\w])")
_ISO_DATE = re.compile(r"(?:\d{4}[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./]\d{4})")
_YEARS = re.compile(r"\d{4}\s?[-/]\s?\d{4}")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b")
_KEYLIKE = re.compile(r"(?<![\w/])[A-Za-z0-9_+=~-]{16,200}(?![\w])")
_NAMED = re.compile(
    r"(?i)\b(?:password|passwort|passcode|passphrase|mot de passe|pin|api[ _-]?key|secret|token)"
    r"\s*(?:is|[:=])\s*(\S{3,200})"
)
_NAMED_PLAIN = re.compile(r"[A-Za-z]+[.,;!?]?")  # "the secret is out": a word, not a password


def secret_ranges(text: str) -> list[Range]:
    """Character ranges of emails, phone and card numbers, IBANs, passwords and keys."""
    found = [m.span() for m in _EMAIL.finditer(text)]
    found += [m.span() for m in _IBAN.finditer(text)]
    found += [m.span() for m in _DIGITS.finditer(text) if _is_number(m.group())]
    found += [m.span() for m in _KEYLIKE.finditer(text) if _is_random(m.group())]
    found += [m.span(1) for m in _NAMED.finditer(text) if not _NAMED_PLAIN.fullmatch(m.group(1))]
    return merge_ranges(found)


def merge_ranges(ranges: Iterable[Range]) -> list[Range]:
    """The same characters as sorted ranges without overlap."""
    merged: list[Range] = []
    for start, end in sorted((s, e) for s, e in ranges if e > s):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def outside(text: str, ranges: Iterable[Range]) -> list[str]:
    """The stretches of `text` before, between and after these sorted ranges."""
    parts, at = [], 0
    for start, end in ranges:
        parts.append(text[at:start])
        at = max(at, end)
    return [*parts, text[at:]]


def _is_number(found: str) -> bool:
    """A card number (Luhn) or something dialled; a date or a span of years is neither."""
    if _ISO_DATE.fullmatch(found) or _YEARS.fullmatch(found):
        return False
    digits = re.sub(r"\D", "", found)
    if 13 <= len(digits) <= 19 and _luhn(digits):
        return True
    if found.startswith("+") or found.startswith("0") or "(" in found:
        return 7 <= len(digits) <= 15
    if re.fullmatch(r"\d{3}[-.]\d{4}", found):
        return True
    return 9 <= len(digits) <= 15


def _luhn(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _is_random(found: str) -> bool:
    """High entropy for its length and mixed classes: keys and hashes, not long words.

    An English compound of 20 letters has about 3.3 bits a letter but no digits; a hex digest has
    3.5 to 4.0 bits with both."""
    classes = sum(bool(re.search(c, found)) for c in ("[a-z]", "[A-Z]", "[0-9]"))
    if classes < 2 or not re.search("[0-9]", found):
        return False
    if re.fullmatch(r"(?:[A-Za-z]+|\d{1,4})(?:[-_](?:[A-Za-z]+|\d{1,4}))+", found):
        return False  # a slug or a dated file name
    counts = Counter(found)
    entropy = -sum(n / len(found) * math.log2(n / len(found)) for n in counts.values())
    return entropy >= 3.0
