"""The ledger's tables, and opening them: WAL, one writer, and older schemas brought over.

Knows nothing about what the rows mean.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from pathlib import Path

from vaultgpt.errors import StateError
from vaultgpt.files import PRIVATE_FILE

_log = logging.getLogger("vaultgpt.ledger")
BUSY_MS = 60_000  # a batch of a first scan holds the writer for a second
_LARGE_BYTES, _DAY_S = 16 << 20, 86_400.0
_PAGE_BYTES = 2048  # of 4096 a small vault leaves more empty: 0.025 of its prose

# Rows are named by small numbers; ids and digests, 16 hex digits outside, are 8 bytes here.
# `sightings` are the moments at which texts were first seen (their `seen`): what the mirror wrote
# before may stand in them.
_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE notes (
  n INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, mtime_ns INTEGER NOT NULL,
  size INTEGER NOT NULL, inode INTEGER NOT NULL, digest BLOB NOT NULL, used INTEGER NOT NULL,
  code TEXT NOT NULL, words INTEGER NOT NULL, problem INTEGER NOT NULL, gone_since REAL);
CREATE TABLE entries (
  n INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, note INTEGER, heading TEXT, place BLOB NOT NULL,
  date TEXT, tags TEXT NOT NULL, words INTEGER NOT NULL, held_out INTEGER NOT NULL DEFAULT 0,
  held_digests TEXT NOT NULL DEFAULT '', decided INTEGER NOT NULL DEFAULT 0,
  first_seen REAL NOT NULL, changed REAL NOT NULL, used INTEGER NOT NULL DEFAULT 1,
  forgotten INTEGER NOT NULL DEFAULT 0, absent_since REAL, copy_of INTEGER);
CREATE INDEX entries_note ON entries(note);
CREATE INDEX entries_few ON entries(n)
  WHERE held_out OR forgotten OR NOT decided OR copy_of IS NOT NULL;
CREATE TABLE runs (entry INTEGER PRIMARY KEY, ten BLOB NOT NULL);
CREATE TABLE paragraphs (
  entry INTEGER NOT NULL, position INTEGER NOT NULL, text INTEGER NOT NULL, words INTEGER NOT NULL,
  PRIMARY KEY (entry, position)) WITHOUT ROWID;
CREATE INDEX paragraphs_text ON paragraphs(text);
CREATE TABLE texts (
  n INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, seen INTEGER, same_as INTEGER,
  waited INTEGER NOT NULL DEFAULT 0, known INTEGER NOT NULL DEFAULT 0, shingles BLOB NOT NULL);
CREATE TABLE sightings (n INTEGER PRIMARY KEY, time REAL NOT NULL);
CREATE TABLE forgotten (digest BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE generations (
  id TEXT PRIMARY KEY, round INTEGER NOT NULL, kind TEXT NOT NULL, parent TEXT,
  base TEXT NOT NULL, base_sha256 TEXT NOT NULL, created REAL NOT NULL, promoted INTEGER NOT NULL,
  status TEXT NOT NULL, rank_setting INTEGER NOT NULL, embedding_setting INTEGER NOT NULL,
  words INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE learned (
  digest BLOB NOT NULL, entry BLOB NOT NULL, generation TEXT NOT NULL, words INTEGER NOT NULL,
  PRIMARY KEY (digest, entry, generation)) WITHOUT ROWID;
CREATE TABLE active (one INTEGER PRIMARY KEY CHECK (one = 1), generation TEXT, since REAL NOT NULL);
CREATE TABLE rounds (
  number INTEGER PRIMARY KEY, kind TEXT NOT NULL, why TEXT NOT NULL, cause TEXT NOT NULL,
  started REAL NOT NULL, ended REAL, plan_digest TEXT NOT NULL, promoted INTEGER, verdict TEXT,
  report TEXT, segments TEXT, checks TEXT NOT NULL DEFAULT '[]', generation TEXT,
  sampled INTEGER NOT NULL,
  pending_words INTEGER NOT NULL);
CREATE TABLE scores (
  round INTEGER NOT NULL, entry TEXT NOT NULL, nats REAL, bytes INTEGER, base_nats REAL,
  PRIMARY KEY (round, entry)) WITHOUT ROWID;
CREATE TABLE emitted (
  hash INTEGER NOT NULL, length INTEGER NOT NULL, time REAL NOT NULL,
  accepted INTEGER NOT NULL DEFAULT 0, matched INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (hash, length, time)) WITHOUT ROWID;
CREATE INDEX emitted_time ON emitted(time);
"""
# From each schema to the next: a sentence for the author, and its statements. The number rises only
# with vaultgpt's minor version, so that any two of one minor version open each other's ledgers.
_CHANGES: tuple[tuple[str, str], ...] = ()
_FIRST = 2  # the first release's; what was tried before it is made anew from memory.jsonl


def kept_id(name: str) -> bytes | str:
    """An id or digest for a column: 16 hex digits as 8 bytes, anything else as it is."""
    try:
        raw = bytes.fromhex(name)
    except ValueError:
        return kept_text(name)
    return raw if raw.hex() == name else name


def given_id(value: bytes | str) -> str:
    """The inverse of kept_id."""
    return value.hex() if isinstance(value, bytes) else value


def kept_text(text: str) -> str | bytes:
    """Text for a column. Half a surrogate, which a name that is no UTF-8 has, SQLite takes only as
    bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
    return text


def given_text(value: str | bytes) -> str:
    """The inverse of kept_text."""
    return value if isinstance(value, str) else value.decode("utf-8", "surrogatepass")


def connect(path: Path) -> sqlite3.Connection:
    """Open the database, made when missing. StateError for a newer schema; sqlite3.DatabaseError
    when the file is damaged."""
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, PRIVATE_FILE))
    timeout_s = BUSY_MS / 1000
    db = sqlite3.connect(path, timeout=timeout_s, isolation_level=None, check_same_thread=False)
    try:
        _prepare(db, path)
    except BaseException:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    db.row_factory = sqlite3.Row
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version == 0:
        db.execute(f"PRAGMA page_size={_PAGE_BYTES}")
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")  # a verdict that was told must outlive a power cut
    if version > _newest():
        raise StateError(f"{path} was written by a newer vaultgpt.", "Install that version again.")
    if 0 < version < _FIRST:
        raise sqlite3.DatabaseError("of before the first release")
    if version:
        _check(db, path)
        _bring_over(db, path)
    else:
        _make(db)


def _make(db: sqlite3.Connection) -> None:
    db.execute("BEGIN IMMEDIATE")
    if db.execute("PRAGMA user_version").fetchone()[0] == 0:
        for statement in _statements(_TABLES):
            db.execute(statement)
        db.execute(f"PRAGMA user_version={_newest()}")
    db.execute("COMMIT")


def _check(db: sqlite3.Connection, path: Path) -> None:
    """Look for damage, in a large ledger once a day: 100 MB take half a second."""
    now, large = time.time(), path.stat().st_size > _LARGE_BYTES
    if large:
        row = db.execute("SELECT value FROM meta WHERE key='checked'").fetchone()
        if row is not None and 0 <= now - float(row[0]) < _DAY_S:
            return
    if db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
        raise sqlite3.DatabaseError("quick_check")
    if large:
        db.execute("INSERT OR REPLACE INTO meta VALUES ('checked', ?)", (str(now),))


def _newest() -> int:
    """The schema that this vaultgpt writes."""
    return _FIRST + len(_CHANGES)


def _bring_over(db: sqlite3.Connection, path: Path) -> None:
    """Make an older schema the newest in one transaction, said aloud; the older file is kept."""
    if db.execute("PRAGMA user_version").fetchone()[0] == _newest():
        return
    said: list[str] = []
    kept: Path | None = None
    db.execute("BEGIN IMMEDIATE")
    try:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        for sentence, statements in _CHANGES[version - _FIRST :]:
            if not said:
                kept = path.with_name(f"{path.name}.schema-{version}")
                _keep(path, kept)
            for statement in _statements(statements):
                db.execute(statement)
            said.append(sentence)
        text = " ".join(said)
        if said:
            db.execute("INSERT OR REPLACE INTO meta VALUES ('brought_over', ?)", (text,))
            db.execute(f"PRAGMA user_version={_newest()}")
        db.execute("COMMIT")
    except BaseException:
        if kept:  # its room may be what was lacking
            kept.unlink(missing_ok=True)
        db.execute("ROLLBACK")
        raise
    if said:  # to standard error where no daemon's log is
        _log.warning("The ledger of an older vaultgpt was brought over. %s", text)
        with contextlib.suppress(sqlite3.Error):  # no room, or somebody reads: it stays larger
            db.execute("VACUUM")


def _keep(path: Path, kept: Path) -> None:
    """The ledger as it was, for who goes back to the older vaultgpt."""
    kept.unlink(missing_ok=True)
    source = sqlite3.connect(path)
    try:
        os.close(os.open(kept, os.O_CREAT | os.O_WRONLY, PRIVATE_FILE))
        source.execute("VACUUM INTO ?", (str(kept),))
    finally:
        source.close()
        kept.with_name(f"{kept.name}-journal").unlink(missing_ok=True)


def _statements(text: str) -> list[str]:
    return [statement for statement in text.split(";") if statement.strip()]
