"""Front matter: where it ends, and the few properties that are needed from it.

We split it ourselves, since python-frontmatter loses what stands between two rules; the library
reads the mapping, through a pure loader that knows only strings. Anything odd stays prose.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import frontmatter
import yaml
from frontmatter.default_handlers import YAMLHandler

from vaultgpt.vault.tags import property_tags

MAX_BLOCK = 64 * 1024  # characters; PyYAML's C loader dies of 30,000 "[", the pure one is slow
MAX_DEPTH = 20
NEEDED = frozenset(
    [
        "tag",
        "tags",
        "date",
        "day",
        "created",
        "creation-date",
        "date-created",
        "source",
        "url",
        "title",
        "vaultgpt",
        "excalidraw-plugin",
    ]
)
_OPEN = re.compile(r"---[ \t]*\r?\n")
_CLOSE = re.compile(r"^---[ \t]*\r?$", re.MULTILINE)
_BLANK = re.compile(r"(?:[ \t]*\r?\n)*")
_KEY = re.compile(r"\w[\w -]{0,40}:(?:\s|$)")
_SENTENCE = re.compile(r"[.!?;,\"]|(?:\S+\s+){4}")
_OFF = re.compile(r"^vaultgpt[ \t]*:[ \t]*[\"']?(?:false|no|off)\b", re.MULTILINE | re.IGNORECASE)
_TAG_LINES = re.compile(
    r"^tags?[ \t]*:([^\n]{0,2000}(?:\n[ \t]*-[ \t][^\n]{0,200}){0,200})",
    re.MULTILINE | re.IGNORECASE,
)


class _Strings(yaml.SafeLoader):
    """A pure loader whose plain scalars stay strings, so no date or number can raise."""

    yaml_implicit_resolvers = {}  # noqa: RUF012  the base class declares it

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merge keys double a mapping at every level; a note needs none."""


class _Handler(YAMLHandler):
    """The library's YAML, over a block that is split already."""

    def split(self, text: str) -> tuple[str, str]:
        return text, ""

    def load(self, fm: str) -> Any:  # type: ignore[override]
        return yaml.load(fm, Loader=_Strings)


@dataclass(frozen=True)
class Properties:
    """What front matter says. `end` is where the body begins; 0 when there is no front matter."""

    end: int = 0
    values: dict[str, object] = field(default_factory=dict)  # NEEDED keys, lower-case
    problem: str | None = None
    broken: int = 0  # end of a block that looks like front matter and could not be read


def read_properties(text: str) -> Properties:
    """Split and read the front matter of a note. Never raises, whatever stands there."""
    opening = _OPEN.match(text)
    if not opening:
        return Properties()
    closing = _CLOSE.search(text, opening.end(), opening.end() + MAX_BLOCK + 8)
    if not closing:
        return _unclosed(text, opening.end())
    block, end = text[opening.end() : closing.start()], _after(text, closing.end())
    if not block.strip():
        return Properties(end)
    if _depth(block) > MAX_DEPTH:
        return _failed(block, end, "its front matter is nested too deeply")
    try:
        mapping, _ = frontmatter.parse(block, handler=_Handler())
    except Exception:  # yaml raises ValueError, TypeError, RecursionError and more,
        # with the note's text in the message, which goes no further
        return _failed(block, end, "its front matter is not valid YAML")
    if not mapping or not all(_like_a_key(key) for key in mapping):
        why = "what stands between its first two rules is not front matter"
        return Properties(0, _warnings(block), why)
    return Properties(end, _needed(mapping))


def _after(text: str, at: int) -> int:
    """Past the closing line's end and the blank lines below it."""
    at += 1 if text.startswith("\n", at) else 0
    blank = _BLANK.match(text, at)
    return blank.end() if blank else at


def _depth(block: str) -> int:
    """The deepest nesting of brackets, without regard to quotes."""
    depth = deepest = 0
    for mark in re.findall(r"[\[\]{}]", block):
        depth = depth + 1 if mark in "[{" else max(0, depth - 1)
        deepest = max(deepest, depth)
    return deepest


def _like_a_key(key: object) -> bool:
    """ "creation date" is a key; "Dear diary, I woke" is a sentence with a colon."""
    return not isinstance(key, str) or (len(key) <= 60 and not _SENTENCE.search(key))


def _unclosed(text: str, at: int) -> Properties:
    if not _KEY.match(text, at):
        return Properties()  # a note that opens with a rule
    return Properties(
        0,
        _warnings(text[at : at + MAX_BLOCK]),
        "its front matter is not closed, or longer than 64 KB",
    )


def _failed(block: str, end: int, why: str) -> Properties:
    """Prose after all: kept whole where it looks like properties, else read like the rest."""
    looks_like_properties = _KEY.match(block.lstrip()) is not None
    return Properties(0, _warnings(block), why, end if looks_like_properties else 0)


def _warnings(block: str) -> dict[str, object]:
    """From a block that can't be read: only what would keep the note out, for the rules to see."""
    found: dict[str, object] = {}
    if _OFF.search(block):
        found["vaultgpt"] = False
    lines = [m[1].replace("\n", " ") for m in _TAG_LINES.finditer(block)]
    if tags := property_tags([re.sub(r"(?:^|\s)-\s", " ", line) for line in lines]):
        found["rule_tags"] = tags
    return found


def _needed(mapping: dict[Any, Any]) -> dict[str, object]:
    """The few keys we use, as strings and lists of strings; no alias is followed further."""
    found: dict[str, object] = {}
    for key, value in mapping.items():
        name = str(key).strip().lower().replace(" ", "-").replace("_", "-")
        if name not in NEEDED:
            continue
        if name == "vaultgpt":
            found[name] = _own(value)
        elif name in ("tag", "tags"):
            found[name] = property_tags(value)
        else:
            found[name] = _scalar(value)
    return found


def _scalar(value: object) -> str:
    """A string; of a list, its first string at most three levels down; else ""."""
    for _ in range(3):
        if isinstance(value, list) and value:
            value = value[0]
    text = value.strip() if isinstance(value, str) else ""
    return "" if text in ("null", "~") else text


def _own(value: object) -> object:
    """`vaultgpt: false` as False; `vaultgpt: {tags, date, length, temperature}` as a dict."""
    if isinstance(value, dict):
        inner = {str(k).lower(): v for k, v in value.items()}
        own: dict[str, object] = {
            k: _scalar(inner[k]) for k in ("date", "length", "temperature") if k in inner
        }
        if "tags" in inner:
            own["tags"] = property_tags(inner["tags"])
        return own
    return _scalar(value).lower() not in ("false", "no", "off", "0")
