"""One rule set: which notes are used, and why not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.vault.helpers import note_of, write
from vaultgpt.errors import Forbidden, UsageError
from vaultgpt.settings import Rules
from vaultgpt.tasks.schemas import note_path
from vaultgpt.vault.reconcile import read_one
from vaultgpt.vault.rules import RuleSet

WORDS = "I walked to the river today.\n"


def code(vault: Path, path: str, text: str = WORDS, rules: Rules | None = None) -> str:
    return RuleSet.load(vault, rules or Rules()).judge(note_of(text, path)).code


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (WORDS, ""),
        ("", "empty"),
        ("---\ntags: x\n---\n", "empty"),
        ("> only a quote\n", "empty"),
        ("Two words\n", "few words"),
        ("---\nvaultgpt: false\n---\n" + WORDS, "vaultgpt: false"),
        ("---\nvaultgpt: no\n---\n" + WORDS, "vaultgpt: false"),
        ("---\nexcluded: true\n---\n" + WORDS, "excluded"),
        ("---\nexcluded: [yes]\nx: {{y}}\n---\n" + WORDS, "excluded"),
        ("---\nexcluded: false\n---\n" + WORDS, ""),
        ("---\nexcluded:\n---\n" + WORDS, ""),
        ("+++\nexcluded = true\n+++\n" + WORDS, "excluded"),
        ("---\nvaultgpt: {length: page}\n---\n" + WORDS, ""),
        ("---\ntags: private\n---\n" + WORDS, "tag"),
        (WORDS + "#private\n", "tag"),
        ("---\ntags: Private/Health\n---\n" + WORDS, "tag"),
        (WORDS + "#privateer\n", ""),
        (WORDS + "## In a heading #private\n", "tag"),
        (WORDS + "`#private`\n", ""),
        ("---\nsource: https://a.org\n---\n" + WORDS, "clipping"),
        ("---\nurl: https://a.org\n---\n" + WORDS, "clipping"),
        ("---\nsource:\nurl: ''\n---\n" + WORDS, ""),
        (WORDS + "{{date}}\n", "template"),
        (WORDS + "<% tp.file.title %>\n", "template"),
        (WORDS + "`{{date}}`\n", ""),
        ("---\ncreated: {{date}}\n---\n## Notes\n", "template"),
        ("---\ncreated: {{date}}\n---\n" + WORDS * 5, ""),
        ("---\ntags: [private\n---\n" + WORDS, "tag"),
        ("---\nvaultgpt: false\nx: {{y}}\n---\n" + WORDS, "vaultgpt: false"),
    ],
)
def test_what_a_note_itself_decides(tmp_path: Path, text: str, expected: str) -> None:
    assert code(tmp_path, "Walk.md", text) == expected


def test_templates_and_clippings_can_be_let_in(tmp_path: Path) -> None:
    rules = Rules(templates=True, clippings=True)
    assert code(tmp_path, "a.md", WORDS + "{{date}}\n", rules) == ""
    assert code(tmp_path, "a.md", "---\nsource: x\n---\n" + WORDS, rules) == ""


def test_patterns_and_folders_without_regard_to_case_and_unicode_form(tmp_path: Path) -> None:
    rules = Rules(exclude=("Private/", "*.secret.md", "Caf\u00e9/**", "!Private/open.md"))
    assert code(tmp_path, "private/a.md", rules=rules) == "folder"
    assert code(tmp_path, "Deep/Private/a.md", rules=rules) == "folder"
    assert code(tmp_path, "x.Secret.md", rules=rules) == "pattern"
    assert code(tmp_path, "Cafe\u0301/a.md", rules=rules) != ""
    assert code(tmp_path, "Open/a.md", rules=rules) == ""


def test_only_keeps_everything_else_out(tmp_path: Path) -> None:
    rules = Rules(only=("Journal/", "Poems/*.md"))
    assert code(tmp_path, "Journal/2021/a.md", rules=rules) == ""
    assert code(tmp_path, "Poems/a.md", rules=rules) == ""
    assert code(tmp_path, "Lists/a.md", rules=rules) == "only"


def test_a_bad_pattern_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        RuleSet.load(tmp_path, Rules(exclude=("!",)))


def test_obsidians_own_excluded_files(tmp_path: Path) -> None:
    filters = {"userIgnoreFilters": ["Private/", r"/\.draft\.md$/", "/(/", 7, ""]}
    write(tmp_path, ".obsidian/app.json", json.dumps(filters))
    assert code(tmp_path, "Private/a.md") == "obsidian"
    assert code(tmp_path, "x.draft.md") == "obsidian"
    assert code(tmp_path, "Open/Private/a.md") == ""
    assert code(tmp_path, "Private/a.md", rules=Rules(obsidian_excluded=False)) == ""


def test_template_folders_and_daily_templates_of_every_plugin(tmp_path: Path) -> None:
    write(tmp_path, ".obsidian/templates.json", '{"folder": "Templates"}')
    write(tmp_path, ".obsidian/daily-notes.json", '{"template": "Meta/Day template"}')
    write(tmp_path, ".obsidian/plugins/templater-obsidian/data.json", '{"templates_folder": "Tp/"}')
    for path in ("Templates/a.md", "templates/b/a.md", "Meta/Day template.md", "Tp/x.md"):
        assert code(tmp_path, path) == "template"
    assert code(tmp_path, "Templates for life.md") == ""
    assert code(tmp_path, "Templates/a.md", rules=Rules(templates=True)) == ""


@pytest.mark.parametrize(
    "name",
    [
        "a.sync-conflict-20210314-120000-ABCDEFG.md",
        "a (Anna's conflicted copy 2021-03-14).md",
        "a (conflicted copy).md",
        "~syncthing~a.md",
        ".syncthing.a.md",
        "a (Case Conflict 1).md",
    ],
)
def test_copies_of_sync_tools_are_left_out(tmp_path: Path, name: str) -> None:
    assert code(tmp_path, f"Journal/{name}") == "conflict copy"


def test_the_same_rules_judge_a_single_note(tmp_path: Path) -> None:
    write(tmp_path, "Private/a.md")
    scanned = read_one(tmp_path, Rules(exclude=("Private/",)), "Private/a.md")
    assert scanned.judgement.code == "folder" and scanned.note.text


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such names")
def test_a_note_that_no_request_can_name_is_left_out_until_it_is_renamed(tmp_path: Path) -> None:
    """Learned, it could not be forgotten again."""
    for name in ("line\nbreak.md", "in\nfolder/a.md"):
        write(tmp_path, name, WORDS)
        assert read_one(tmp_path, Rules(), name).judgement.code == "name", name
        with pytest.raises(Forbidden):
            note_path(name)
    (tmp_path / "line\nbreak.md").rename(tmp_path / "line break.md")
    assert read_one(tmp_path, Rules(), "line break.md").judgement.used
