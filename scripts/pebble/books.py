"""Which books pebble learns from, which are held out, and how much each one weighs.

Reads the corpus folder (index.tsv beside one folder for each category) and nothing else; knows
nothing about tokens, models or how a text is cleaned.
"""

from __future__ import annotations

import os
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path

# Held out as whole books, across categories: their words reach no training run and no tokenizer.
HELD_OUT = (
    "diaries-letters/GITenberg_-_A_Garden_Diary_September_1899September_1900.txt",
    "diaries-letters/GITenberg_-_Village_Life_in_America_1852_1872the_diary_of_a_school_girl.txt",
    "diaries-letters/GITenberg_-_Letters_of_a_Woman_Homesteader.txt",
    "poetry/Sara_Teasdale_-_Rivers_to_the_Sea.txt",
    "prose-modern/Willa_Cather_-_My_Antonia.txt",
    "prose/Chesterton_-_Heretics.txt",
    "prose/Wells_-_Tales_of_Space_and_Time.txt",
    "prose/Nesbit_-_The_Literary_Sense.txt",
)

# Journals by these people measure the base, so their books are left out; so is an anthology of
# essays in which two of them appear.
EXCLUDED_AUTHORS = frozenset({"Hawthorne", "Thoreau", "Dickinson", "Amiel", "Kingsford"})
EXCLUDED_FILES = frozenset({"prose/Poe_-_The_Oxford_Book_of_American_Essays.txt"})

# Expected copies of each document in one epoch. A first-person novel outweighs one told from
# outside, because a vault is written by somebody who says "I".
CATEGORY_WEIGHT = {
    "diaries-letters": 1.25,
    "essays": 2.0,
    "poetry": 3.0,
    "prose-modern": 1.0,
    "prose": 0.25,
}
FIRST_PERSON_PROSE_WEIGHT = 0.8
FIRST_PERSON_PER_1000_WORDS = 30.0  # "I", "me", "my" outside quotation marks

_QUOTED = re.compile(r"“[^”]{0,2000}”|\"[^\"]{0,2000}\"")
_FIRST_PERSON = re.compile(r"\b(?:I|me|my|myself|mine)\b")


@dataclass(frozen=True)
class Book:
    """One book: `key` is its path in the corpus, `title` and `author` are for the cards."""

    key: str
    category: str
    title: str
    author: str
    path: Path

    @property
    def held_out(self) -> bool:
        return self.key in HELD_OUT

    def read(self) -> str:
        return self.path.read_text(encoding="utf-8")


def corpus_folder(data: Path | None, work: Path) -> Path:
    """The unpacked corpus: DATA itself, a folder inside it, or corpus.tar.xz unpacked in WORK."""
    root = data or Path(os.environ.get("VAULTGPT_DATA", ""))
    for candidate in (root, root / "corpus", work / "corpus"):
        if (candidate / "index.tsv").is_file():
            return candidate
    archive = root / "corpus.tar.xz"
    if not archive.is_file():
        raise SystemExit(f"No index.tsv and no corpus.tar.xz under {root}: pass --data.")
    with tarfile.open(archive) as packed:
        packed.extractall(work, filter="data")
    return work / "corpus"


def list_books(corpus: Path) -> list[Book]:
    """Every admitted book in a fixed order: training and held-out ones together."""
    found = sorted(corpus.glob("*/*.txt"))
    on_disk = {_squash(path.name): path for path in found}
    on_disk |= {path.name: path for path in found}  # two volumes differ by a comma alone
    books = []
    for row in (corpus / "index.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        category, file, author = row.split("\t")[:3]
        path = on_disk.get(file.replace(" ", "_")) or on_disk.get(_squash(file))
        if path is None:
            raise SystemExit(f"The index names a book that is not there: {file}")
        key = f"{path.parent.name}/{path.name}"
        if author in EXCLUDED_AUTHORS or key in EXCLUDED_FILES:
            continue
        title = Path(file).stem.split(" - ", 1)[-1].strip().rstrip(".")
        books.append(Book(key, category, title, author, path))
    return sorted(books, key=lambda book: book.key)


def first_person_rate(text: str) -> float:
    """First-person pronouns outside quotation marks, per 1,000 words."""
    narration = _QUOTED.sub(" ", text)
    words = max(1, len(narration.split()))
    return 1000.0 * len(_FIRST_PERSON.findall(narration)) / words


def weight(book: Book, text: str) -> float:
    """Expected copies of each of the book's documents in one epoch."""
    if book.category == "prose" and first_person_rate(text) >= FIRST_PERSON_PER_1000_WORDS:
        return FIRST_PERSON_PROSE_WEIGHT
    return CATEGORY_WEIGHT[book.category]


def _squash(name: str) -> str:
    """File names on disk have other punctuation than the index: compare letters and digits."""
    return re.sub(r"[^0-9a-z]+", "", name.lower().encode("ascii", "ignore").decode())
