"""Front matter: where it ends, and the few properties that are needed from it.

YAML and TOML blocks are read as trees of strings, so that no date or number can raise, and what is
no valid block is read line by line for the keys that decide. Anything odd stays prose.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import yaml
from frontmatter.default_handlers import YAMLHandler

from vaultgpt.vault.keys import (
    KNOWN,
    MAX_BLOCK,
    PAIR,
    blocks,
    by_lines,
    name_of,
    needed,
    only_rules,
    with_rules,
)

_MAX_DEPTH = 20
_MAX_NODES = 5_000  # of one block, each use of an alias counted: sixty lines can mean 2^60
_OPEN = re.compile(r"\ufeff?(---|\+\+\+)[ \t]*\r?\n")  # an editor may show the mark of UTF-8
_CLOSE = {mark: re.compile(rf"^{re.escape(mark)}[ \t]*\r?$", re.M) for mark in ("---", "+++")}
_BLANK = re.compile(r"(?:[ \t]*\r?\n)*")
_KEY = re.compile(r"\w[\w .,?/()'-]{0,60}:(?:\s|$)")
_LINES = re.compile(r"(?:(?:\w[\w -]{0,40}:(?=\s|\Z)|[ \t]+\S|-[ \t])[^\n]*(?:\n|\Z))+")
_SENTENCE = re.compile(r"[.!;\"](?:\s|$)|,\s+(?:\S+\s+){2}|(?:\S+\s+){4}")


class _NodeLoader(YAMLHandler):
    """The library's YAML, as nodes rather than values: a key given twice stays two keys.

    It also splits a note, and then loses what stands between two rules; so that is done here. The
    C loader dies of deep nesting, the pure one raises."""

    def load(self, fm: str, **options: object) -> Any:
        return yaml.compose(fm, Loader=yaml.SafeLoader)


_HANDLER = _NodeLoader()


@dataclass(frozen=True)
class Properties:
    """What front matter says. `end` is where the body begins; 0 when there is no front matter."""

    end: int = 0
    values: dict[str, object] = field(default_factory=dict)  # needed keys, lower-case
    problem: str | None = None
    broken: int = 0  # end of a block that looks like front matter and could not be read
    unclosed: int = 0  # end of the properties below an opening rule that is never closed

    @property
    def above(self) -> int:
        """Characters before the body, however well what stands there could be read."""
        return max(self.end, self.broken, self.unclosed)


def read_properties(text: str) -> Properties:
    """Split and read the front matter of a note. Never raises, whatever stands there.

    What a block that stands elsewhere forbids is heeded too."""
    found = _at_the_top(text)
    rules = {start: forbidden for start, forbidden in blocks(text) if forbidden}
    values = with_rules(found.values, *rules.values())
    late = any(start >= found.above for start in rules)
    problem = "its front matter does not begin on its first line" if late else None
    return replace(found, values=values, problem=found.problem or problem)


def _at_the_top(text: str) -> Properties:
    opening = _OPEN.match(text)
    if not opening:
        return Properties()
    closing = _CLOSE[opening[1]].search(text, opening.end(), opening.end() + MAX_BLOCK + 8)
    if not closing:
        return _unclosed(text, opening.end())
    block, end = text[opening.end() : closing.start()], _after(text, closing.end())
    if not block.strip():
        return Properties(end)
    return _toml(block, end) if opening[1] == "+++" else _yaml(block, end)


def _yaml(block: str, end: int) -> Properties:
    if _depth(block) > _MAX_DEPTH:
        return _failed(block, end, "its front matter is nested too deeply")
    try:
        root = _HANDLER.load(block)
    except Exception:  # yaml raises ValueError, TypeError, RecursionError and more,
        # with the note's text in the message, which goes no further
        return _failed(block, end, "its front matter is not valid YAML")
    tree = _Tree()
    pairs = tree.pairs(root) if isinstance(root, yaml.MappingNode) else []
    if tree.odd:
        return _failed(block, end, "its front matter is not valid YAML")
    names = [name for name, _ in pairs]
    if not pairs or not (KNOWN & set(names) or _like_keys(key for key in tree.keys)):
        why = "what stands between its first two rules is not front matter"
        return Properties(0, only_rules(by_lines(block)), why)
    problem = "its front matter refers to itself" if tree.cyclic else None
    if len(set(names)) < len(names):
        problem = "a key of its front matter is given twice"
    return Properties(end, needed(pairs), problem)


def _toml(block: str, end: int) -> Properties:
    try:
        table = tomllib.loads(block.replace("\r\n", "\n"))
    except (ValueError, RecursionError):
        return _failed(block, end, "its front matter is not valid TOML")
    inner = [pair for value in table.values() if isinstance(value, dict) for pair in value.items()]
    return Properties(end, needed((name_of(k), _strings(v)) for k, v in [*table.items(), *inner]))


def _strings(value: object, depth: int = 0) -> object:
    """A TOML value as strings, lists and mappings of strings."""
    if isinstance(value, dict) and depth < _MAX_DEPTH:
        return {str(k): _strings(v, depth + 1) for k, v in value.items()}
    if isinstance(value, list) and depth < _MAX_DEPTH:
        return [_strings(v, depth + 1) for v in value]
    return str(value)


class _Tree:
    """A YAML tree as strings, lists and mappings: finite, however often an alias is used."""

    def __init__(self) -> None:
        self.left = _MAX_NODES
        self.cyclic = False
        self.odd = False  # a key is no word, as in {{date}}
        self.keys: list[str] = []  # of the mapping itself, as they are written
        self._open: set[int] = set()

    def pairs(self, root: yaml.MappingNode) -> list[tuple[str, object]]:
        """Names and values of a mapping in order, one given twice twice."""
        self._open.add(id(root))
        found = []
        for key, value in root.value:
            if self._word(key):
                self.keys.append(key.value)
                found.append((name_of(key.value), self._value(value, 1)))
        return found

    def _value(self, node: yaml.Node, depth: int) -> object:
        self.left -= 1
        if isinstance(node, yaml.ScalarNode):
            return node.value
        if id(node) in self._open:
            self.cyclic = True
        if id(node) in self._open or depth > _MAX_DEPTH or self.left < 0:
            return ""
        self._open.add(id(node))
        found: object = ""
        if isinstance(node, yaml.SequenceNode):
            found = [self._value(item, depth + 1) for item in self._some(node.value)]
        elif isinstance(node, yaml.MappingNode):
            found = {
                key.value: self._value(value, depth + 1)
                for key, value in self._some(node.value)
                if self._word(key)
            }
        self._open.discard(id(node))
        return found

    def _word(self, key: yaml.Node) -> bool:
        word = isinstance(key, yaml.ScalarNode)
        self.odd = self.odd or not word
        return word

    def _some(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            if self.left < 0:
                return
            yield item


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


def _like_keys(keys: Iterable[str]) -> bool:
    """Whether most are keys: "slept well?" is one, "Dear diary, I woke" a sentence with a colon."""
    marks = [len(key) <= 80 and (key.endswith("?") or not _SENTENCE.search(key)) for key in keys]
    return 2 * sum(marks) > len(marks)


def _unclosed(text: str, at: int) -> Properties:
    if not (_KEY.match(text, at) or PAIR.match(text, at)):
        return Properties()  # a note that opens with a rule
    lines = _LINES.match(text, at)
    end = lines.end() if lines else at
    if lines and (
        rule := _CLOSE["---"].match(text, end)
    ):  # too long for YAML, and no line of prose
        why = "its front matter is longer than 64 KB, so it was read line by line"
        return Properties(_after(text, rule.end()), by_lines(lines[0]), why)
    return Properties(
        0,
        only_rules(by_lines(text[at : max(end, at + MAX_BLOCK)])),
        "its front matter is not closed, or longer than 64 KB",
        unclosed=end,
    )


def _failed(block: str, end: int, why: str) -> Properties:
    """Prose after all: kept whole where it looks like properties, else read like the rest.

    What it says is believed all the same, line by line."""
    values = by_lines(block)
    if looks_like_properties := PAIR.match(block.lstrip()) is not None:
        values = {**values, **only_rules(values)}
    else:
        values = only_rules(values)
    return Properties(0, values, why, end if looks_like_properties else 0)
