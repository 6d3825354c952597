"""The plot's series from the ledger, its file, and the one line without matplotlib."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path

import pytest

from tests.ledger.vaults import Vault, body
from tests.report.conftest import next_generation
from vaultgpt.errors import NotFound, UsageError, VaultGPTError
from vaultgpt.ledger import Ledger
from vaultgpt.report.plot import _Series, check_plot, draw, series

drawn = pytest.mark.skipif(
    importlib.util.find_spec("matplotlib") is None,
    reason="the `voice` extra (matplotlib) is not installed",
)


def test_series_follow_generations_and_foretold_notes(learned: Vault) -> None:
    learned.write("new.md", body("brand new", 4))
    next_generation(learned, "g000002")
    with Ledger.open(learned.state) as ledger:
        shown = series(ledger)
    assert shown.generations == [("g000001", 1.2, 1.5), ("g000002", 1.2, 1.5)]
    name, mirror, base = shown.prequential[-1]
    assert name == "round 2" and base is not None
    assert mirror == pytest.approx(10 / 20 / math.log(2))
    assert base == pytest.approx(12 / 20 / math.log(2))


def test_before_the_first_round_there_is_nothing_to_draw(tmp_path: Path) -> None:
    with Ledger.open(Vault(tmp_path).state) as ledger, pytest.raises(NotFound):
        series(ledger)


def test_without_matplotlib_one_line_says_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(VaultGPTError) as caught:
        check_plot(Path("a.png"))
    assert caught.value.exit_status == 1 and "pip install 'vaultgpt[voice]'" in caught.value.mend
    with pytest.raises(UsageError):
        check_plot(Path("a.pdf"))


@drawn
@pytest.mark.parametrize(("name", "opens"), [("a.png", b"\x89PNG"), ("a.SVG", b"<?xml")])
def test_a_plot_is_a_private_file_of_its_kind(name: str, opens: bytes, tmp_path: Path) -> None:
    rows = [("g000001", 1.5, 1.9), ("g000002", 1.4, None)]
    for shown in (_Series(rows, [("a$b$", 1.2, 1.4)], rows), _Series(rows, [], [])):
        draw(tmp_path / name, shown)
        assert (tmp_path / name).read_bytes().startswith(opens)
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    with pytest.raises(UsageError):
        draw(tmp_path / "missing" / name, _Series(rows, [], []))
