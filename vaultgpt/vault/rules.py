"""One rule set says which notes are used, for training and for writing alike.

Knows the settings, .obsidian and a note's properties; reads no note itself.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pathspec

from vaultgpt.config import Rules
from vaultgpt.errors import UsageError
from vaultgpt.files import read_json
from vaultgpt.vault.daily import DailyFormat
from vaultgpt.vault.entry import Judgement, Note
from vaultgpt.vault.tags import below, clean_tag, property_tags, unique

CONFLICT = re.compile(
    r"\.sync-conflict-\d|\(.{0,80}conflicted copy|\bconflicted copy\b|\(case conflict"
    r"|^\.syncthing\.|~syncthing~",
    re.IGNORECASE,
)
PLACEHOLDER = re.compile(r"^\.(.+\.(?:md|markdown))\.icloud$", re.IGNORECASE)
USED = Judgement(True, "", "It is used.")


def _fold(path: str) -> str:
    """A path as case-insensitive and Unicode-normalising file systems compare it."""
    return unicodedata.normalize("NFC", path).casefold()


def _spec(patterns: tuple[str, ...], key: str) -> pathspec.GitIgnoreSpec | None:
    if not patterns:
        return None
    try:
        return pathspec.GitIgnoreSpec.from_lines(_fold(pattern) for pattern in patterns)
    except (ValueError, TypeError, re.error):
        raise UsageError(
            f"rules.{key} holds a pattern that can't be read.",
            "Patterns are written as in .gitignore.",
        ) from None


@dataclass(frozen=True)
class Ignored:
    """Obsidian's excluded files: path prefixes and /regular expressions/."""

    prefixes: tuple[str, ...]
    patterns: tuple[re.Pattern[str], ...]

    @staticmethod
    def load(vault: Path) -> Ignored:
        """`userIgnoreFilters` of .obsidian/app.json; empty for a missing or damaged file."""
        prefixes, patterns = [], []
        filters = _setting(vault / ".obsidian" / "app.json", "userIgnoreFilters")
        for item in filters if isinstance(filters, list) else []:
            if not isinstance(item, str) or not item.strip():
                continue
            if len(item) > 2 and item.startswith("/") and item.endswith("/"):
                try:
                    patterns.append(re.compile(item[1:-1], re.IGNORECASE))
                except re.error:
                    continue  # JavaScript's syntax is not all of Python's
            else:
                prefixes.append(_fold(item.strip().lstrip("/")))
        return Ignored(tuple(prefixes), tuple(patterns))

    def match(self, path: str) -> bool:
        """Whether Obsidian leaves this path out of its searches."""
        folded = _fold(path)
        return any(folded.startswith(p) for p in self.prefixes) or any(
            pattern.search(path) for pattern in self.patterns
        )


def _setting(path: Path, key: str) -> object:
    try:
        value = read_json(path)
    except (OSError, ValueError, RecursionError):
        return None
    return value.get(key) if isinstance(value, dict) else None


def _template_places(vault: Path) -> tuple[str, ...]:
    """Folders (with "/") and single notes that hold templates, folded."""
    plugin = vault / ".obsidian" / "plugins" / "templater-obsidian" / "data.json"
    folders = [
        _setting(vault / ".obsidian" / "templates.json", "folder"),
        _setting(plugin, "templates_folder"),
    ]
    places = [
        _fold(f.strip().strip("/")) + "/"
        for f in folders
        if isinstance(f, str) and f.strip().strip("/")
    ]
    places += [_fold(note) + ".md" for note in DailyFormat.load(vault).templates]
    return tuple(places)


@dataclass(frozen=True)
class RuleSet:
    """The rules of one vault, ready to judge paths and notes."""

    rules: Rules
    exclude: pathspec.GitIgnoreSpec | None
    only: pathspec.GitIgnoreSpec | None
    tags: tuple[str, ...]
    ignored: Ignored
    templates: tuple[str, ...]

    @staticmethod
    def load(vault: Path, rules: Rules) -> RuleSet:
        """Compile the settings and read .obsidian. UsageError for a bad pattern."""
        tags = tuple(tag for name in rules.exclude_tags if (tag := clean_tag(name)))
        return RuleSet(
            rules,
            _spec(rules.exclude, "exclude"),
            _spec(rules.only, "only"),
            tags,
            Ignored.load(vault),
            _template_places(vault),
        )

    def sources(self) -> tuple[object, ...]:
        """What these rules were made from, in a form that compares and prints the same."""
        patterns = tuple(pattern.pattern for pattern in self.ignored.patterns)
        return self.rules, self.ignored.prefixes, patterns, self.templates

    def judge_path(self, path: str) -> Judgement:
        """What the path alone decides."""
        name = PurePosixPath(path).name
        if CONFLICT.search(name):
            return _no("conflict copy", "It is a copy that a sync tool left behind.")
        if PLACEHOLDER.match(name):
            return _no("placeholder", "It lies in the cloud and is not on this machine.")
        folded = _fold(path)
        if self.exclude is not None and self.exclude.match_file(folded):
            folder = folded.rpartition("/")[0]
            inside = folder and self.exclude.match_file(folder + "/")
            return _no("folder" if inside else "pattern", "rules.exclude leaves it out.")
        if self.only is not None and not self.only.match_file(folded):
            return _no("only", "rules.only does not name it.")
        if self.rules.obsidian_excluded and self.ignored.match(path):
            return _no("obsidian", "Obsidian's own excluded files name it.")
        if not self.rules.templates and self._is_template_place(folded):
            return _no("template", "It lies where this vault keeps its templates.")
        return USED

    def _is_template_place(self, folded: str) -> bool:
        return any(
            folded.startswith(place) if place.endswith("/") else folded == place
            for place in self.templates
        )

    def judge(self, note: Note) -> Judgement:
        """Whether a note that was read is used."""
        by_path = self.judge_path(note.path)
        if not by_path.used:
            return by_path
        if not note.entries:
            return _no("unreadable", f"It can't be read: {note.problem}.")
        if note.properties.get("vaultgpt") is False:
            return _no("vaultgpt: false", "Its front matter says `vaultgpt: false`.")
        warned = property_tags(note.properties.get("rule_tags"))
        if barred := next(
            (bar for tag in unique([*note.tags, *warned]) for bar in self.tags if below(tag, bar)),
            None,
        ):
            return _no("tag", f"It has the excluded tag #{barred}.")
        if not self.rules.templates and note.properties.get("template"):
            return _no("template", "It holds placeholders that a template would fill in.")
        origin = note.properties.get("source") or note.properties.get("url")
        if origin and not self.rules.clippings:
            return _no("clipping", "Its front matter names a source or url: somebody else's text.")
        if note.words == 0:
            return _no("empty", "It holds no prose.")
        if note.words < self.rules.min_words:
            return _no("few words", f"It holds fewer than {self.rules.min_words} words of prose.")
        return USED


def _no(code: str, why: str) -> Judgement:
    return Judgement(False, code, why)
