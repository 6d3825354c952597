"""Front matter as notes really have it: whatever fails, no character of prose is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vault.helpers import covered, entry_of, kinds, note_of, prose
from vaultgpt.settings import Rules
from vaultgpt.vault.properties import read_properties
from vaultgpt.vault.rules import RuleSet


@pytest.mark.parametrize("flood", ["[", "{", "- ", "? ", "a: {", "&a [*a, "])
def test_thirty_thousand_openers_end_in_a_problem_not_in_a_dead_process(flood: str) -> None:
    text = f"---\n{flood * (30_000 // len(flood))}\n---\nWe walked home."
    note = note_of(text)
    assert note.problem and "We walked home." in prose(text)
    covered(note)


def test_a_page_between_two_rules_loses_nothing() -> None:
    text = "---\nI woke before the gulls.\n\n---\nThen it rained.\n"
    assert prose(text) == text
    assert note_of(text).problem


def test_a_sentence_with_a_colon_between_two_rules_is_not_front_matter() -> None:
    text = "---\nWhat my father always said: never lend a boat.\n---\nHe lent it.\n"
    assert prose(text) == text


def test_a_heading_between_two_rules_is_not_an_empty_mapping() -> None:
    assert "A comment to YAML" in prose("---\n# A comment to YAML\n---\nText\n")


def test_the_body_is_not_stripped() -> None:
    assert prose("---\ntags: a\n---\n\n   indented first line\nlast line  \n\n\n") == (
        "   indented first line\nlast line  \n\n\n"
    )


def test_a_byte_order_mark_does_not_turn_front_matter_into_body() -> None:
    entry = entry_of(b"\xef\xbb\xbf---\ntags: dream\n---\nI fell.\n")
    assert entry.tags == ("dream",) and entry.prose == "I fell.\n"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_wide_encodings_with_a_mark_are_read(encoding: str) -> None:
    entry = entry_of("---\ntags: dream\n---\nI fell — slowly.\n".encode(encoding))
    assert entry.tags == ("dream",) and entry.prose == "I fell — slowly.\n"


def test_latin_1_is_read_and_recorded() -> None:
    note = note_of("Das Café schloß früh.".encode("latin-1"))
    assert note.entries[0].prose == "Das Café schloß früh."
    assert note.problem and "Latin-1" in note.problem


def test_nul_bytes_are_not_text() -> None:
    note = note_of(b"abc\0\0\0def")
    assert note.entries == () and note.text == "" and note.problem


def test_windows_line_ends_stay_and_front_matter_is_found() -> None:
    entry = entry_of("---\r\ntags: [a, b]\r\n---\r\n\r\nOne.\r\nTwo.\r\n")
    assert entry.tags == ("a", "b") and entry.prose == "One.\r\nTwo.\r\n"


def test_crlf_is_the_same_note_as_lf() -> None:
    text = (
        "---\ndate: 2021-03-14\n---\n# T\n\n#a #b\n\n> said\n\nOne `x` two.\n```\ncode\n```\nEnd\n"
    )
    plain = [(kind, piece.replace("\r", "")) for kind, piece in kinds(text.replace("\n", "\r\n"))]
    assert plain == kinds(text)


@pytest.mark.parametrize(
    "line",
    [
        "date: 2021-02-30",
        "2021-03-14: walked",
        "7: seven",
        "content: mine",
        "handler: mine",
        "count: " + "9" * 5000,
        "metadata: {a: 1}",
        "when: 2021-13-45T99:99:99",
        "ratio: 1:2:3:4",
    ],
)
def test_values_that_make_the_library_raise_are_read(line: str) -> None:
    note = note_of(f"---\n{line}\ntags: dream\n---\nI fell.\n")
    assert note.tags == ("dream",) and note.entries[0].prose == "I fell.\n"


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "created: {{date}}",
        "links: [[a]], [[b]]",
        "\tkey: tab",
        "who: @x",
        "a: b: c",
        "x: 'open",
        "!!python/object:os.system {}",
        "? [a]\n: b",
        "n: !!int " + "9" * 5000,
        "<<: 3\n!!merge x: y",
    ],
)
def test_blocks_that_are_no_yaml_stay_prose_whole(line: str) -> None:
    text = f"---\n{line}\ntags: dream\n---\nI fell.\n"
    note = note_of(text)
    covered(note)
    if note.problem:
        assert prose(text) == text
    assert "I fell.\n" in prose(text)


def test_the_usual_broken_blocks_are_recorded_as_problems() -> None:
    for line in ("created: {{date}}", "links: [[a]], [[b]]", "a:\n\tkey: tab", "who: @x"):
        text = f"---\n{line}\n---\nI fell.\n"
        assert note_of(text).problem == "its front matter is not valid YAML"
        assert prose(text) == text


TWICE = "a key of its front matter is given twice"


@pytest.mark.parametrize(
    ("block", "tags", "used"),
    [
        ("tags: [private]\ntags: [journal]", ("private", "journal"), True),
        ("tags: journal\nTags: private", ("journal", "private"), True),
        ("vaultgpt: false\nvaultgpt: true", (), False),
        ("vaultgpt: true\nvaultgpt: false", (), False),
        ("vaultgpt: false\nvaultgpt: {length: page}", (), False),
        ("excluded: true\nexcluded: false", (), False),
        ("excluded: false\nExcluded: true", (), False),
    ],
)
def test_of_a_key_given_twice_all_tags_and_the_stricter_rule(
    block: str, tags: tuple[str, ...], used: bool
) -> None:
    note = note_of(f"---\n{block}\n---\nI fell.\n")
    assert note.tags == tags and note.problem == TWICE
    out = note.properties.get("vaultgpt") is False or note.properties.get("excluded") is True
    assert out != used


def test_the_first_of_two_dates_and_any_of_two_sources_count() -> None:
    note = note_of("---\ndate: 2020-01-02\ndate: 2021-01-02\nsource:\nsource: x\n---\nI fell.\n")
    assert note.entries[0].date == "2020-01-02" and note.properties["source"] == "x"


@pytest.mark.parametrize(
    "broken", ["title: Fwd: the boat", "x: [open", "who: @x", "created: {{d}}"]
)
@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("tags: [dream, private]", "tags", ("dream", "private")),
        ("tags:\n  - dream\n  - private", "tags", ("dream", "private")),
        ("tags:\n- '#dream'", "tags", ("dream",)),
        ('Tags: "dream"', "tags", ("dream",)),
        ("vaultgpt: false", "vaultgpt", False),
        ("excluded: true", "excluded", True),
        ("Excluded: no", "excluded", False),
        ("source: https://a.org/x: y", "source", "https://a.org/x: y"),
        ("url: 'https://a.org'", "url", "https://a.org"),
        ("date: 2020-01-02", "date", "2020-01-02"),
        ("doc_type: weread", "doc-type", "weread"),
    ],
)
def test_what_is_no_yaml_is_read_line_by_line_for_what_decides(
    broken: str, line: str, key: str, value: object
) -> None:
    for block in (f"{broken}\n{line}", f"{line}\n{broken}"):
        text = f"---\n{block}\n---\nI fell.\n"
        note = note_of(text)
        assert note.problem == "its front matter is not valid YAML" and prose(text) == text
        assert note.properties[key] == value
        assert key != "tags" or note.tags == value


@pytest.mark.parametrize(
    ("block", "tags", "used"),
    [
        ('tags = ["dream", "private"]\ndate = 2020-01-02', ("dream", "private"), True),
        ('[taxonomies]\ntags = ["private"]', ("private",), True),
        ("vaultgpt = false", (), False),
        ('tags = ["private"]\nx = ', ("private",), True),
        ("vaultgpt = false\nx = = y", (), False),
    ],
)
def test_a_toml_block_is_front_matter(block: str, tags: tuple[str, ...], used: bool) -> None:
    note = note_of(f"+++\n{block}\n+++\nI fell.\n")
    assert note.tags == tags and "I fell." in note.entries[0].prose
    assert (note.properties.get("vaultgpt") is not False) == used
    assert note.problem or note.entries[0].prose == "I fell.\n"


@pytest.mark.parametrize("above", ["\n", "\n\n", " \n", "  "])
def test_a_block_that_stands_too_low_is_prose_but_what_it_forbids_is_heeded(above: str) -> None:
    text = f"{above}---\nvaultgpt: false\ntags: [private]\n---\nI fell.\n"
    note = note_of(text)
    assert read_properties(text).end == 0 and prose(text) == text
    assert note.properties == {"vaultgpt": False, "rule_tags": ("private",)}
    assert note.problem == "its front matter does not begin on its first line"
    toml = note_of(f"{above}+++\nvaultgpt = false\ntags = ['private']\n+++\nI fell.\n")
    assert toml.properties == note.properties and toml.problem == note.problem
    assert note_of("\n---\nI fell: hard.\n").problem is None


@pytest.mark.parametrize(
    "key",
    [
        "slept well?",
        "exif.camera",
        "city, country",
        "creation date",
        "Did I go out today?",
        "What was the best of the whole day?",
        "mood (1-5)",
        "dc:title",
        "été",
        "心情",
        "'quoted key'",
    ],
)
def test_keys_of_any_kind_make_a_mapping(key: str) -> None:
    text = f"---\n{key}: x\n---\nI fell.\n"
    assert prose(text) == "I fell.\n" and note_of(text).problem is None


def test_a_known_key_makes_front_matter_of_any_block() -> None:
    text = "---\nWhat my father said that day: never lend a boat.\ntags: sea\n---\nI fell.\n"
    assert note_of(text).tags == ("sea",) and prose(text) == "I fell.\n"


@pytest.mark.parametrize(
    "block",
    [
        "tags: &a [*a, private]",
        "tags: &a [private, [*a]]",
        "a: &a {b: *a}\ntags: private",
        "a: &a\n  - *a\n  - *a\ntags: private",
    ],
)
def test_front_matter_that_refers_to_itself_ends_and_is_said(block: str) -> None:
    note = note_of(f"---\n{block}\n---\nI fell.\n")
    assert note.tags == ("private",) and note.problem == "its front matter refers to itself"


def test_an_alias_that_ends_is_followed() -> None:
    note = note_of("---\nx: &t [private, sea]\ntags: *t\n---\nI fell.\n")
    assert note.tags == ("private", "sea") and note.problem is None


def test_a_problem_never_holds_text_of_the_note() -> None:
    note = note_of("---\nsecret-word: [unclosed\n---\nother-word\n")
    assert note.problem and "secret-word" not in note.problem and "other" not in note.problem


def test_an_aliases_bomb_is_neither_followed_nor_kept() -> None:
    rows = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)]
    note = note_of("---\n" + "\n".join(rows) + "\ntags: *a59\n---\nI fell.\n")
    assert note.entries[0].prose == "I fell.\n"
    assert len(repr(note.properties)) < 10_000


def test_a_merge_bomb_does_not_double() -> None:
    rows = ["a0: &a0 {x: 1}"] + [
        f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 60)
    ]
    assert "I fell." in prose("---\n" + "\n".join(rows) + "\n---\nI fell.\n")


def test_more_than_64_kb_of_front_matter_is_read_by_its_lines_and_is_no_prose() -> None:
    """And what may be prose stays prose: a rule, words with a colon, more words, another rule."""
    rows = "tags: [sea]\ndate: 2019-03-04\n" + "key: value\n" * 7000
    note = note_of(f"---\n{rows}---\nI fell.\n")
    assert note.entries[0].prose == "I fell.\n" and "longer than 64 KB" in (note.problem or "")
    assert (note.tags, note.entries[0].date) == (("sea",), "2019-03-04")
    barred = note_of(f"---\n{rows}vaultgpt: false\n---\nI fell.\n")
    assert barred.properties["vaultgpt"] is False
    text = "---\nDear diary: " + "I fell.\nAnd I rose.\n" * 4000 + "---\nI fell.\n"
    assert prose(text) == text


def test_an_empty_block_and_an_unclosed_rule_are_no_problem() -> None:
    assert note_of("---\n---\nText\n").problem is None
    assert prose("---\n---\nText\n") == "Text\n"
    assert note_of("---\nJust a rule above.\n").problem is None
    assert prose("---\nJust a rule above.\n") == "---\nJust a rule above.\n"


def test_only_an_exact_first_line_opens_front_matter() -> None:
    for opening in ("----", "--- x", " ---", "\n---"):
        assert read_properties(f"{opening}\ntags: a\n---\n").end == 0


def test_an_unreadable_block_still_keeps_a_private_note_out_of_sight() -> None:
    tight = ("vaultgpt:false", "VaultGPT:no", "tags:[private]", "tags:private, x")
    for block in ("vaultgpt: false", "tags: [private", "tags:\n  - private\n  - x", *tight):
        found = read_properties(f"---\n{block}\ncreated: {{{{date}}}}\n---\nText\n")
        assert found.values.get("vaultgpt") is False or "private" in str(found.values["rule_tags"])
    for block in ("excluded: true", "excluded: yes", "excluded: no\nEXCLUDED: 1"):
        for form in ("---\n{}\ncreated: {{{{date}}}}\n---\n", "\n---\n{}\n---\n", "---\n{}\n"):
            assert read_properties(form.format(block) + "Text\n").values["excluded"] is True
    for line in ("  vaultgpt: false", "\tvaultgpt: no", "- vaultgpt: false", "  - VaultGPT:off"):
        for start in ("title: a: b", "x: {{y}}", "a: [open"):
            found = read_properties(f"---\n{start}\n{line}\n---\nText\n")
            assert found.values["vaultgpt"] is False
    broken = "---\ntitle: a: b\n  tags: private\n  other: x\n  tags:\n  - sea\n---\nText\n"
    assert read_properties(broken).values["rule_tags"] == ("private", "sea")
    assert read_properties("---\nexcluded:yes\nx: {{y}}\n---\n").values["excluded"] is True


def test_vaultgpt_may_be_false_or_hold_settings() -> None:
    assert note_of("---\nvaultgpt: false\n---\nx").properties["vaultgpt"] is False
    own = note_of("---\nvaultgpt: {tags: [Dream], length: page, date: 2014}\n---\nx").properties
    assert own["vaultgpt"] == {"tags": ("dream",), "length": "page", "date": "2014"}


def test_a_drawing_is_not_prose() -> None:
    assert note_of("---\nexcalidraw-plugin: parsed\n---\nText elements here\n").words == 0
    assert note_of("Text elements here\n", "Map.excalidraw.md").words == 0


def test_a_page_between_two_rules_is_read_like_any_other() -> None:
    text = "---\nDear diary, #private as ever:\n\n> she said\n---\nThen it rained.\n"
    assert note_of(text).tags == ("private",)
    assert kinds(text) == [("quote", "> she said\n")]


def test_every_character_of_a_broken_block_is_prose() -> None:
    text = "---\ncreated: {{date}}\nlink: https://example.org `x` %%y%%\n---\nI fell.\n"
    assert prose(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff\ufeff---\nvaultgpt: false\n---\n",
        "\u200b---\nvaultgpt: false\n---\n",
        "---\u00a0\nvaultgpt: false\n---\n",
        "---yaml\nvaultgpt: false\n---\n",
        "----\nvaultgpt: false\n----\n",
        "# The ferry\n\n---\nvaultgpt: false\n---\n",
        "Some words.\n---\nvaultgpt: false\n---\n",
        "<!-- c -->\n---\nvaultgpt: false\n---\n",
        "<<<<<<< HEAD\n---\nvaultgpt: false\n---\nA\n=======\nB\n>>>>>>> main\n",
        "<<<<<<< HEAD\nA\n=======\n---\nvaultgpt: false\n---\nB\n>>>>>>> main\n",
        "---\n<<<<<<< HEAD\nvaultgpt: false\n=======\n>>>>>>> main\n---\n",
        "+++\nvaultgpt = false\n",
        '---\ntitle: a: b\nvaultgpt: "false" # for now\n---\n',
        '---\n{"vaultgpt": false, "x": [}\n---\n',
        "---\n<<: {vaultgpt: false}\nx: 1\n---\n",
        "---\nmeta:\n  vaultgpt: false\n---\n",
        "---\nvault-gpt: false\n---\n",
        "---\nvaultgpt\uff1afalse\n---\n",
        "---\nvaultgpt: n\n---\n",
        "vaultgpt:: false\n",
        "vaultgpt: false\n",
        "Words.\n\n- vaultgpt:: no\n",
        "Words [vaultgpt:: false] and more.\n",
        "%% vaultgpt: false %%\n",
    ],
)
def test_wherever_the_author_says_so_a_note_is_left_out(text: str) -> None:
    whole = f"{text}\nI fell.\n"
    forms = (whole, whole.replace("\n", "\r\n"), whole.replace("\n", "\r"), "\ufeff" + whole)
    for data in (*(form.encode() for form in forms), whole.encode("utf-16")):
        note = note_of(data)
        assert note.properties["vaultgpt"] is False
        covered(note)


@pytest.mark.parametrize(
    "text",
    [
        "```yaml\nvaultgpt: false\n```\n",
        "Write `vaultgpt: false` there.\n",
        "vaultgpt: no, it was a false alarm.\n",
        "- vaultgpt: false alarm\n",
        "---\n# vaultgpt: false\ntitle: x\n---\n",
    ],
)
def test_what_only_speaks_of_it_is_learned(text: str) -> None:
    assert note_of(f"{text}\nI fell.\n").properties.get("vaultgpt") is not False


@pytest.mark.parametrize(
    "block",
    [
        "tags: #private",
        "tags: #sea #private",
        "tags:\n  - #private",
        "tags: [sea, #private]",
        "tags: sea\uff0cprivate",
        "meta:\n  tags: private",
        "tags\uff1aprivate",
    ],
)
def test_a_tag_that_yaml_does_not_see_still_keeps_the_note_out(tmp_path: Path, block: str) -> None:
    note = note_of(f"---\n{block}\n---\nI walked to the river.\n")
    assert RuleSet.load(tmp_path, Rules()).judge(note).code == "tag"


def test_a_source_below_its_key_is_one_in_a_broken_block_too() -> None:
    note = note_of("---\ntitle: a: b\nsource:\n  - https://a.org\n---\nI fell.\n")
    assert note.properties["source"] == "https://a.org"
    assert note_of("---\nsource_url: https://a.org\n---\nI fell.\n").properties["source-url"]
