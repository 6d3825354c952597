"""The page of tables says what the rows say."""

from __future__ import annotations

from benchmarks.voice.tables import NAMES, PAGE, page


def test_the_page_in_docs_is_of_the_rows_in_results() -> None:
    written = page()
    assert [line for line in written.splitlines() if line.startswith("## ")] == [
        f"## {name}" for name in NAMES]
    assert PAGE.read_text(encoding="utf-8") == written, "run `python -m benchmarks.voice.tables`"
