"""The ledger's tables, and opening them: WAL, one writer, a schema version.

Knows nothing about what the rows mean.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from vaultgpt.errors import StateError
from vaultgpt.files import PRIVATE_FILE

VERSION = 1
BUSY_S = 60.0  # a first scan of millions of words holds the writer for half a minute

TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE notes (
  path TEXT PRIMARY KEY, mtime_ns INTEGER NOT NULL, size INTEGER NOT NULL, inode INTEGER NOT NULL,
  digest TEXT NOT NULL, used INTEGER NOT NULL, code TEXT NOT NULL, words INTEGER NOT NULL,
  problem INTEGER NOT NULL, gone_since REAL) WITHOUT ROWID;
CREATE TABLE entries (
  id TEXT PRIMARY KEY, path TEXT NOT NULL, heading TEXT, place TEXT NOT NULL, date TEXT,
  tags TEXT NOT NULL, words INTEGER NOT NULL, held_out INTEGER NOT NULL DEFAULT 0,
  held_digests TEXT NOT NULL DEFAULT '[]', decided INTEGER NOT NULL DEFAULT 0,
  first_seen REAL NOT NULL, changed REAL NOT NULL, used INTEGER NOT NULL DEFAULT 1,
  forgotten INTEGER NOT NULL DEFAULT 0, absent_since REAL,
  runs8 BLOB NOT NULL DEFAULT x'', runs10 BLOB NOT NULL DEFAULT x'') WITHOUT ROWID;
CREATE INDEX entries_place ON entries(place);
CREATE INDEX entries_path ON entries(path);
CREATE TABLE paragraphs (
  entry TEXT NOT NULL, position INTEGER NOT NULL, digest TEXT NOT NULL, words INTEGER NOT NULL,
  PRIMARY KEY (entry, position)) WITHOUT ROWID;
CREATE INDEX paragraphs_digest ON paragraphs(digest);
CREATE TABLE texts (
  digest TEXT PRIMARY KEY, first_seen REAL NOT NULL, same_as TEXT, shingles BLOB NOT NULL,
  waited INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE forgotten (digest TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE generations (
  id TEXT PRIMARY KEY, round INTEGER NOT NULL, kind TEXT NOT NULL, parent TEXT,
  base TEXT NOT NULL, base_sha256 TEXT NOT NULL, created REAL NOT NULL, promoted INTEGER NOT NULL,
  status TEXT NOT NULL, rank_setting INTEGER NOT NULL, embedding_setting INTEGER NOT NULL,
  words INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE learned (
  generation TEXT NOT NULL, entry TEXT NOT NULL, digest TEXT NOT NULL, words INTEGER NOT NULL,
  PRIMARY KEY (generation, entry, digest)) WITHOUT ROWID;
CREATE INDEX learned_digest ON learned(digest);
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


def connect(path: Path) -> sqlite3.Connection:
    """Open the database, made when missing. StateError for a newer schema; sqlite3.DatabaseError
    when the file is damaged."""
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, PRIVATE_FILE))
    db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        _prepare(db, path)
    except BaseException:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    db.row_factory = sqlite3.Row
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")  # a verdict that was told must outlive a power cut
    if (version := db.execute("PRAGMA user_version").fetchone()[0]) == 0:
        db.execute("BEGIN IMMEDIATE")
        if db.execute("PRAGMA user_version").fetchone()[0] == 0:
            for statement in TABLES.split(";"):
                if statement.strip():
                    db.execute(statement)
            db.execute(f"PRAGMA user_version={VERSION}")
        db.execute("COMMIT")
    elif version > VERSION:
        raise StateError(f"{path} was written by a newer vaultgpt.", "Install that version again.")
    elif db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
        raise sqlite3.DatabaseError("quick_check")
