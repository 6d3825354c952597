"""Options: every one has a sentence, bad values are refused in words, comments survive."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vaultgpt.errors import StateError, UsageError
from vaultgpt.options import describe, with_option
from vaultgpt.settings import (
    Mirror,
    Settings,
    load_settings,
    save_option,
    unknown_keys,
    unsure_rules,
)


def test_every_option_has_a_sentence_and_passes_its_own_check() -> None:
    for option in describe(Settings()):
        assert option.doc
        assert option.value == option.default
        value = ",".join(option.default) if isinstance(option.default, tuple) else option.default
        with_option(Settings(), option.key, value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schedule.nightly", "25:00"),
        ("server.port", "70000"),
        ("mirror.temperature", "hot"),
        ("training.rank", "1.5"),
        ("mirror.guard", "perhaps"),
        ("server.host", "0.0.0.0"),
        ("nothing.here", "1"),
        ("temperature", "1"),
        ("rules", "x"),
        ("mirror.temperature", "nan"),
    ],
)
def test_a_bad_value_is_refused_in_one_sentence(key: str, value: str) -> None:
    with pytest.raises(UsageError) as caught:
        with_option(Settings(), key, value)
    assert "\n" not in str(caught.value)


def test_an_unknown_key_names_the_near_ones() -> None:
    with pytest.raises(UsageError, match=r"mirror\.temperature"):
        with_option(Settings(), "temperature", 1)


def test_only_what_was_changed_is_stored_and_comments_survive(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('# mine\n[schedule]\nnightly = "02:00"  # early\n')
    settings = save_option(path, "schedule.quiet_s", "60")
    assert (settings.schedule.nightly, settings.schedule.quiet_s) == ("02:00", 60.0)
    text = path.read_text()
    assert "# mine" in text and "# early" in text and "temperature" not in text
    assert load_settings(path) == settings


def test_lists_are_given_with_commas(tmp_path: Path) -> None:
    settings = save_option(tmp_path / "config.toml", "rules.exclude", "Work/, *.draft.md")
    assert settings.rules.exclude == ("Work/", "*.draft.md")
    assert load_settings(tmp_path / "config.toml").rules.exclude == ("Work/", "*.draft.md")


def test_a_damaged_file_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    for damage, where in (("[schedule\n", " at line 1."), ('[schedule]\na = """', " at its end.")):
        path.write_text(damage)
        with pytest.raises(StateError, match=f"not valid TOML{where}") as told:
            load_settings(path)
        assert "Error" not in str(told.value) and "delete the file" in str(told.value)


def test_a_wrong_hour_is_answered_with_the_form_it_takes(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\[HH:MM\]"):
        save_option(tmp_path / "config.toml", "schedule.nightly", "7pm")


def test_a_key_that_means_nothing_is_told_once_and_all_else_is_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[rules]\nexclud = ['Work/']\n[mirror]\nmin_p = 0.07\n[mirror.deep]\na = 1\n")
    assert load_settings(path) == load_settings(path)
    assert load_settings(path).mirror.min_p == 0.07
    assert [text for text in unknown_keys(path) if "'rules.exclud'" in text and "exclude" in text]
    assert len(unknown_keys(path)) == 2 and caplog.text.count("rules.exclude,") == 1
    changed = save_option(path, "mirror.min_p", 0.05)
    assert changed.mirror.min_p == 0.05 and "exclud = " in path.read_text(), (
        "nothing is thrown away"
    )


@pytest.mark.parametrize(
    "text",
    [
        "[rules]\nexclud = ['Work/']\n",
        "[rules]\nfolders = ['Work/']\n",
        "[rules.work]\nleave = 'out'\n",
        "[rule]\nexclude = ['Work/']\n",
        "[Rules]\nexclude_tag = ['work']\n",
        "exclude = ['Work/']\n",
        "exclude-tags = ['work']\n",
        "[exclude]\nfolders = ['Work/']\n",
    ],
)
def test_what_may_be_meant_to_leave_notes_out_lets_nothing_be_learned(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    assert load_settings(path) == Settings()
    assert unknown_keys(path)[0] in unsure_rules(path) and "nothing is learned" in unsure_rules(
        path
    )


@pytest.mark.parametrize("text", ["", "[mirror]\nheat = 1\n", "[later]\nseconds = 1\n"])
def test_what_else_means_nothing_keeps_nothing_from_being_learned(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    assert not unsure_rules(path)


@pytest.mark.parametrize(
    "text", ["[mirror]\nmin_p = 'x'\n", "mirror = 1\n", "[base]\nname = 'x'\n"]
)
def test_a_value_of_the_wrong_type_stays_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(StateError, match=re.escape(str(path))):
        load_settings(path)


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:8080", True),
        ("http://127.9.9.9:8080/v1", True),
        ("http://[::1]:8080", True),
        ("http://localhost:8080", True),
        ("http://10.0.0.7:8080", False),
        ("https://box.example", False),
        ("http://localhost.example:8080", False),
        ("http://127.0.0.1.example:8080", False),
        ("http://127.0.0.1@box.example:8080", False),
        ("http://0.0.0.0:8080", False),
        ("http://[::1", False),
        ("", False),
    ],
)
def test_text_goes_to_this_machine_alone_unless_the_author_says_otherwise(
    url: str, here: bool
) -> None:
    assert (Mirror(engine="openai", engine_url=url).refused() == "") == here
    elsewhere = Mirror(engine="openai", engine_url=url, engine_off_machine=True)
    assert (elsewhere.refused() == "") == (url not in ("", "http://[::1"))
