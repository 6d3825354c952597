"""An option is stated once: file, request, command line, API and documents are made from it."""

from __future__ import annotations

import runpy
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.ledger.vaults import FakeBase
from vaultgpt.cli import app
from vaultgpt.commands import config
from vaultgpt.errors import Forbidden, UsageError
from vaultgpt.options import describe, option_of, with_option
from vaultgpt.settings import Settings, load_settings
from vaultgpt.state import VaultState, create_state
from vaultgpt.tasks.config import OPTIONS, SET_OPTION, SetRequest, _page
from vaultgpt.tasks.continue_ import Request, sampling_of
from vaultgpt.tasks.doctor import check_vault
from vaultgpt.tasks.schemas import CompletionRequest, to_prompt
from vaultgpt.tasks.vault_service import Here
from vaultgpt.wire import Sampling

SAMPLING = [f.name for f in fields(Sampling)]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> VaultState:
    monkeypatch.setenv("VAULTGPT_HOME", str(tmp_path / "home"))
    (tmp_path / "vault").mkdir()
    return create_state(tmp_path / "vault")


def other(name: str) -> Any:
    """A value that the option takes and that is not its default."""
    of = option_of(Sampling, name)
    return not of.default if of.kind == "boolean" else type(of.default)(of.high)


def test_the_page_of_options_is_the_options() -> None:
    root = Path(__file__).parents[2]
    text = (root / "docs" / "options.md").read_text(encoding="utf-8")
    assert text == _page(Settings()), "run scripts/options"
    assert runpy.run_path(str(root / "scripts" / "options"))["_page"] is _page


@pytest.mark.parametrize("name", SAMPLING)
def test_an_option_of_sampling_is_a_setting_a_field_of_a_request_and_one_of_set(
    name: str, tmp_path: Path
) -> None:
    of, value = option_of(Sampling, name), other(name)
    (setting,) = [o for o in describe(Settings()) if o.key == f"mirror.{name}"]
    assert (setting.default, setting.low, setting.high) == (of.default, of.low, of.high)
    tuned = with_option(Settings(), f"mirror.{name}", value)
    assert getattr(tuned.mirror.sampling(), name) == value

    given, others = sampling_of([f"mirror.{name}={value}", "mirror.threads=2"])
    assert (given, others) == ({name: value}, ["mirror.threads=2"])
    asked = CompletionRequest.model_validate(Request(sampling=given).body())
    assert getattr(to_prompt(asked, Settings().mirror).sampling, name) == value
    again = CompletionRequest.model_validate_json(asked.model_dump_json(exclude_unset=True))
    assert to_prompt(again, Settings().mirror) == to_prompt(asked, Settings().mirror)
    assert (
        to_prompt(CompletionRequest.model_validate({}), tuned.mirror).sampling
        == tuned.mirror.sampling()
    )


@pytest.mark.parametrize("name", [n for n in SAMPLING if option_of(Sampling, n).high is not None])
def test_a_request_has_the_option_s_bounds_and_sentence(name: str) -> None:
    of = option_of(Sampling, name)
    assert of.high is not None
    body = Request(sampling={name: type(of.default)(of.high + 1)}).body()
    with pytest.raises(ValueError, match=name):
        CompletionRequest.model_validate(body)
    definitions = CompletionRequest.model_json_schema()
    ours = definitions["$defs"]["Voice"]["properties"]
    field = definitions["properties"].get(name) or ours[name]
    assert field["description"] == of.doc


def test_every_option_is_told_with_its_bounds_and_set(state: VaultState) -> None:
    rows = Here(state).ask(OPTIONS, None)["options"]
    assert [row["key"] for row in rows] == [o.key for o in describe(Settings())]
    for row in rows:
        assert set(row) == {"key", "type", "value", "default", "bounds", "unit", "sentence"}
        assert row["value"] == row["default"] and row["sentence"]
    known = {row["key"]: row for row in rows}
    assert known["mirror.temperature"]["bounds"] == {"low": 0.0, "high": 5.0}
    assert known["schedule.nightly"]["bounds"] and known["rules.exclude"]["type"] == "list"
    row = Here(state).ask(SET_OPTION, SetRequest(key="mirror.temperature", value=0.5))
    assert row["value"] == load_settings(state.config).mirror.temperature == 0.5
    assert Here(state).ask(OPTIONS, None)["options"] != rows


@pytest.mark.parametrize("key", ["base", "server.origins", "server.port"])
def test_who_may_call_is_not_set_over_the_api(state: VaultState, key: str) -> None:
    with pytest.raises(Forbidden):
        Here(state).ask(SET_OPTION, SetRequest(key=key, value="x"))
    assert not state.config.exists()


def test_settings_for_one_call_are_checked_and_not_stored(state: VaultState) -> None:
    scan = ["scan", str(state.vault), "--json", "--set", "rules.min_words=5"]
    assert CliRunner().invoke(app, scan).exit_code == 0
    for change in ("rules.min_words=many", "rules.min_words", "rules.min_word=3"):
        done = CliRunner().invoke(app, ["scan", str(state.vault), "--set", change])
        assert done.exit_code == UsageError.exit_status
    assert not state.config.exists()


@pytest.mark.parametrize("bad", ["a = [1", "[mirror]\ntemperature = 99\n", "mirror = 1\n"])
def test_a_bad_settings_file_is_an_expected_failure_of_every_command(
    state: VaultState, bad: str
) -> None:
    """It is no wrong usage, which ends with 2: the command was right."""
    state.config.write_text(bad, encoding="utf-8")
    for command in ("status", "config", "scan", "train", "base", "init"):
        done = CliRunner().invoke(app, [command, str(state.vault)])
        assert (done.exit_code, str(state.config) in done.stderr) == (1, True), command


def test_doctor_tells_a_damaged_settings_file_once(state: VaultState) -> None:
    """1. config.toml has an open bracket. 2. doctor. Result: settings says it, with the line; what
    could not be looked at for it says that alone."""
    state.config.write_text("a = [1\nb", encoding="utf-8")
    wrong = {f.name: f for f in check_vault(state) if not f.ok}
    said = [name for name, f in wrong.items() if "not valid TOML at line 2" in f.message]
    assert said == ["settings"]
    assert {"notes", "base", "phone"} <= set(wrong) and wrong["base"].mend == "Mend settings first."


def test_doctor_names_a_key_that_means_nothing(state: VaultState) -> None:
    state.config.write_text("[rule]\nexclude = ['Work/']\n", encoding="utf-8")
    found = next(f for f in check_vault(state) if f.name == "settings")
    assert not found.ok and "rules.exclude" in found.message and str(state.config) in found.mend


def test_a_state_folder_that_is_gone_is_told_and_begun_anew_only_when_asked(
    state: VaultState,
) -> None:
    """1. The state folder is moved away. 2. Commands, and init. Result: each says where it should
    be; nothing is made there but by --new. 3. config, before anything was set, does not say that
    something is stored.
    """
    vault = str(state.vault)
    state.folder.rename(state.folder.with_name("away"))
    for line in (["status"], ["config"], ["init"], ["doctor"], ["serve"], ["train", "--json"]):
        done = CliRunner().invoke(app, [*line, vault])
        said = done.output.replace("\n", " ")
        assert done.exit_code == 1 and f"state folder {state.folder} is gone" in said, line
        assert f"vaultgpt init {vault} --new" in said, line
    assert not state.folder.exists()
    assert (
        CliRunner().invoke(app, ["init", "--new", "--no-base", "--no-plugin", vault]).exit_code == 0
    )
    shown = CliRunner().invoke(app, ["config", vault, "base"]).output
    assert "Nothing is set yet" in shown and str(state.config) in shown
    CliRunner().invoke(app, ["config", vault, "mirror.top_p", "0.9"])
    assert f"Stored in {state.config}" in CliRunner().invoke(app, ["config", vault]).output
    state.folder.rename(state.folder.with_name("gone"))
    assert CliRunner().invoke(app, ["remove", "--yes", vault]).exit_code == 0


def test_config_shows_the_top_p_that_the_base_chooses(
    state: VaultState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. It is 0, on pebble and on a larger base. 2. It is set. 3. The base is not here. Result: it
    is told; then the value alone."""
    ask = ["config", str(state.vault), "mirror.top_p"]

    def shown() -> str:
        return CliRunner().invoke(app, ask).output

    assert "0.0 (chosen by the base: 0.9)  Keep" in shown()
    assert "chosen by the base: 0.9" in CliRunner().invoke(app, [*ask, "0"]).output
    with monkeypatch.context() as larger:
        larger.setattr(config, "resolve", lambda name, of: FakeBase(parameters=134_000_000))
        assert "(chosen by the base: 0.95)" in shown()
    CliRunner().invoke(app, [*ask, "0.8"])
    assert "mirror.top_p  0.8  (default 0.0)" in shown()
    state.config.write_text('base = "some/where"\n', encoding="utf-8")
    assert "mirror.top_p  0.0  Keep" in shown()


def test_a_value_below_0_is_refused_by_its_bounds(state: VaultState) -> None:
    done = CliRunner().invoke(app, ["config", str(state.vault), "mirror.top_p", "-0.1"])
    assert done.exit_code == UsageError.exit_status
    assert "mirror.top_p must lie between 0 and 1" in done.stderr
    wrong = CliRunner().invoke(app, ["config", str(state.vault), "--jsn"])
    assert wrong.exit_code == UsageError.exit_status and "No such option: --jsn" in wrong.stderr


def test_an_option_that_does_not_exist_is_not_stored_as_a_text(state: VaultState) -> None:
    """1. --jsn for --json behind the key of a text. 2. A pattern that begins with one dash. Result:
    the first is refused and nothing is stored; the second is."""
    ask = ["config", str(state.vault), "rules.exclude"]
    wrong = CliRunner().invoke(app, [*ask, "--jsn"])
    assert wrong.exit_code == UsageError.exit_status and "No such option: --jsn" in wrong.stderr
    assert load_settings(state.config) == Settings()
    CliRunner().invoke(app, [*ask, "-drafts"])
    assert load_settings(state.config).rules.exclude == ("-drafts",)
