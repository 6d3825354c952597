"""What is said while one waits: the time left as it is now, loading, what was never learned."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import Trained
from tests.ledger.vaults import Vault
from tests.rounds.fakes import train
from vaultgpt.commands.common import TimeLeft
from vaultgpt.corpus.lines import by_tag, save
from vaultgpt.ledger import Ledger
from vaultgpt.settings import save_option
from vaultgpt.tasks.continue_ import Request, unlearned
from vaultgpt.tasks.generations import ACTIVATE, ActivateRequest
from vaultgpt.tasks.status import STATUS, first_step
from vaultgpt.tasks.vault_service import Here


def test_the_time_left_is_that_of_the_pace_of_now() -> None:
    left = TimeLeft()
    assert left.look("train", 0.0, 0.0) is None
    assert left.look("train", 0.1, 10.0) == 90.0
    for second in range(11, 60):  # a tenth of the pace from here on
        said = left.look("train", 0.1 + (second - 10) * 0.001, float(second))
    assert said is not None and 800 < said < 900
    assert left.look("evaluate", 0.5, 61.0) is None, "another phase has its own pace"


def test_without_a_daemon_continue_says_that_it_loads(trained: Trained) -> None:
    done = trained("continue", str(trained.vault), "--text", "I", "--max-tokens", "3")
    assert done.status == 0 and "Loading the model" in done.err and "vaultgpt serve" in done.err


def test_a_tag_or_a_year_that_was_never_learned_is_said(trained: Trained) -> None:
    args = ("continue", str(trained.vault), "--text", "I", "--max-tokens", "2", "--json")
    known = trained(*args, "--tags", "dream,poetry", "--date", "2019")
    assert known.status == 0 and "never learned" not in known.err
    told = trained(*args, "--tags", "dream,astronomy", "--date", "1950")
    assert "#astronomy, so it was never learned" in told.err and "#dream" not in told.err
    assert "Nothing in the vault is of 1950" in told.err


@pytest.mark.parametrize(
    ("text", "asked", "told"),
    [
        ("I went home.", Request(form="question"), "asks anything"),
        ("I went home. Why?", Request(form="question"), ""),
        ("I went home.", Request(tags=("poetry",)), "No page under #poetry is in lines"),
        ("I went\nhome\nin the\nrain", Request(tags=("poetry",)), ""),
        ("I went home.", Request(tags=("dream",)), ""),
    ],
)
def test_a_form_that_no_page_has_is_said(
    tmp_path: Path, text: str, asked: Request, told: str
) -> None:
    vault = Vault(tmp_path)
    vault.fill(20)
    name = train(vault)["generation"]
    assert name is not None
    save(vault.state.generations / name, by_tag([(("poetry",), text), (("dream",), text)]))
    with Ledger.open(vault.state) as ledger:
        said = " ".join(unlearned(vault.state, ledger, asked))
        assert (told in said) if told else not said
        base = Request(form="question", generation="base")
        assert not unlearned(vault.state, ledger, base)


def test_where_the_base_writes_by_choice_it_is_said_and_how_to_go_back(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    vault.fill(20)
    name = train(vault)["generation"]
    service = Here(vault.state)
    service.ask(ACTIVATE, ActivateRequest(id="base"))
    with Ledger.open(vault.state) as ledger:
        (said,) = unlearned(vault.state, ledger, Request())
        assert "The base writes" in said and "`vaultgpt rollback`" in said
    status = service.ask(STATUS, None)
    step = first_step({**status, "as_of": status["as_of"] or 1.0, "words": 5_000})
    assert step is not None and "brings your voice back" in step
    assert status["earlier"] == name


def test_continue_says_that_the_base_has_not_read_a_language(apart: Trained) -> None:
    (config,) = apart.home.glob("vaults/*/config.toml")
    save_option(config, "base", "pebble")
    apart("activate", "base")
    german = (
        "Gestern Abend bin ich noch einmal am Fluss entlanggegangen, obwohl es schon dunkel war, "
        "und ich hörte nur meine eigenen Schritte im Nebel"
    )
    args = ("continue", str(apart.vault), "--max-tokens", "2", "--json", "--text")
    told = apart(*args, german)
    assert told.status == 0 and "This looks like German, and pebble" in told.err
    assert "This looks like" not in apart(*args, "Last night I walked by the river again").err
