"""Measurements that last: one SQLite file per repository, beside it (or in the cache folder), never in it.

A sweep that was interrupted goes on from here: the search is deterministic, so it asks for the same windows again and gets
the stored ones until they are used up. Only windows of the same machine, the same model files and the same versions count.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repository_builder.errors import RepositoryError
from repository_builder.resources import cache_folder
from repository_builder.sweep.sample import Candidate, Load, Sample, Setting

FORMAT = 1
RESUME_WITHIN_S = 24 * 3600
_SCHEMA = """
CREATE TABLE IF NOT EXISTS session (
    id INTEGER PRIMARY KEY, started REAL NOT NULL, ended REAL, finished INTEGER NOT NULL DEFAULT 0,
    fingerprint TEXT NOT NULL, subject TEXT NOT NULL, question TEXT NOT NULL, machine TEXT NOT NULL, result TEXT);
CREATE TABLE IF NOT EXISTS window (
    id INTEGER PRIMARY KEY, session INTEGER NOT NULL REFERENCES session(id), taken REAL NOT NULL, model TEXT NOT NULL,
    setting TEXT NOT NULL, load TEXT NOT NULL, load_value REAL NOT NULL, seconds REAL NOT NULL, role TEXT NOT NULL,
    throughput REAL NOT NULL, p99 REAL NOT NULL, foreign_cores REAL NOT NULL, sample TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS window_session ON window(session);
"""


@dataclass(frozen=True)
class Fingerprint:
    """What must be the same for two measurements to be comparable."""

    facts: Mapping[str, str]

    @property
    def key(self) -> str:
        """A short digest."""
        return hashlib.sha256(json.dumps(dict(self.facts), sort_keys=True).encode()).hexdigest()[:16]


def fingerprint(versions: Mapping[str, str], gpus: tuple[str, ...] = ()) -> Fingerprint:
    """This machine: processor, cores that we may use, memory, GPUs, kernel, and the versions of what measures and serves."""
    facts = {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory_gib": str(round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)),
        "gpus": ", ".join(gpus) or "none",
        "kernel": platform.release(),
        "host": platform.node(),
    }
    return Fingerprint(facts | dict(versions))


def path_for(repository: Path | None, name: str = "") -> Path:
    """Where the measurements of a repository are kept; those of a remote server lie in the cache folder."""
    if repository is not None and os.access(repository.resolve().parent, os.W_OK):
        return repository.resolve().with_name(f".{repository.resolve().name}.sweep.sqlite")
    folder = cache_folder() / "sweeps"
    folder.mkdir(parents=True, exist_ok=True)
    identity = str(repository.resolve()) if repository is not None else name
    return folder / f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}.sqlite"


class Session:
    """One sweep's part of a store."""

    def __init__(self, connection: sqlite3.Connection, number: int, earlier: dict[str, list[Sample]]) -> None:
        self._connection = connection
        self.number = number
        self._earlier = earlier
        self.resumed = sum(map(len, earlier.values()))
        """Windows of an interrupted sweep that can be used again."""

    def recall(self, model: str, candidate: Candidate, seconds: float, role: str) -> Sample | None:
        """The next unused window of the interrupted sweep for the same question, if there is one."""
        waiting = self._earlier.get(_key(model, candidate, seconds, role))
        return waiting.pop(0) if waiting else None

    def keep(self, model: str, candidate: Candidate, seconds: float, role: str, sample: Sample) -> None:
        """Store a window at once: an interrupted sweep loses nothing."""
        load = candidate.load
        row = (
            self.number,
            time.time(),
            model,
            _text(candidate.setting.as_json()),
            load.kind,
            load.value,
            seconds,
            role,
        )
        values = (*row, sample.throughput, sample.p99, sample.foreign_cores, _text(sample.as_json()))
        with self._connection:
            self._connection.execute(
                "INSERT INTO window (session, taken, model, setting, load, load_value, seconds, role, throughput, p99,"
                " foreign_cores, sample) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
                values,
            )

    def finish(self, result: Mapping[str, Any]) -> None:
        """The sweep has come to its end: its windows are not taken up again."""
        with self._connection:
            self._connection.execute(
                "UPDATE session SET ended = ?, finished = 1, result = ? WHERE id = ?",
                (time.time(), _text(result), self.number),
            )


class Store:
    """The file of one repository."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._connection = sqlite3.connect(path, timeout=10)
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            if version in (0, FORMAT):
                self._connection.executescript(_SCHEMA)
                self._connection.execute(f"PRAGMA user_version = {FORMAT}")
        except sqlite3.Error as error:
            raise _unusable(path, str(error)) from error
        if version not in (0, FORMAT):
            raise _unusable(path, f"it has format {version}, and this version of the tool knows {FORMAT}")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def begin(self, who: Fingerprint, subject: str, question: Mapping[str, Any], *, resume: bool = True) -> Session:
        """A new session; takes up what an unfinished one with the same machine, subject and question has measured."""
        asked = _text(question)
        earlier = self._unfinished(who.key, subject, asked) if resume else {}
        with self._connection:
            (number,) = self._connection.execute(
                "INSERT INTO session (started, fingerprint, subject, question, machine) VALUES (?,?,?,?,?)"
                " RETURNING id",
                (time.time(), who.key, subject, asked, _text(dict(who.facts))),
            ).fetchone()
        return Session(self._connection, number, earlier)

    def sessions(self) -> list[dict[str, Any]]:
        """All sweeps, the newest first."""
        columns = ("id", "started", "finished", "fingerprint", "question", "machine", "result")
        rows = self._connection.execute(
            "SELECT id, started, finished, fingerprint, question, machine, result FROM session ORDER BY id DESC"
        )
        return [
            dict(zip(columns, row, strict=True))
            | {name: json.loads(row[columns.index(name)] or "null") for name in ("question", "machine", "result")}
            for row in rows
        ]

    def windows(self, session: int) -> Iterator[tuple[str, Candidate, str, Sample]]:
        """Model, candidate, role and sample of every window of a sweep."""
        rows = self._connection.execute(
            "SELECT model, setting, load, load_value, role, sample FROM window WHERE session = ? ORDER BY id",
            (session,),
        )
        for model, setting, load, value, role, sample in rows:
            candidate = Candidate(Setting.from_json(json.loads(setting)), Load(value, load))
            yield model, candidate, role, Sample.from_json(json.loads(sample))

    def _unfinished(self, fingerprint_key: str, subject: str, question: str) -> dict[str, list[Sample]]:
        found: dict[str, list[Sample]] = {}
        row = self._connection.execute(
            "SELECT id, finished FROM session WHERE fingerprint = ? AND subject = ? AND question = ? AND started > ?"
            " ORDER BY id DESC LIMIT 1",
            (fingerprint_key, subject, question, time.time() - RESUME_WITHIN_S),
        ).fetchone()
        if row is None or row[1]:
            return found
        rows = self._connection.execute(
            "SELECT model, setting, load, load_value, seconds, role, sample FROM window WHERE session = ? ORDER BY id",
            (row[0],),
        )
        for model, setting, load, value, seconds, role, sample in rows:
            candidate = Candidate(Setting.from_json(json.loads(setting)), Load(value, load))
            found.setdefault(_key(model, candidate, seconds, role), []).append(Sample.from_json(json.loads(sample)))
        return found


@contextmanager
def opened(path: Path) -> Iterator[Store]:
    """A store, closed at the end. Raises RepositoryError for a file that is none."""
    store = Store(path)
    try:
        yield store
    finally:
        store.close()


def _key(model: str, candidate: Candidate, seconds: float, role: str) -> str:
    load = candidate.load
    return _text([model, candidate.setting.as_json(), load.kind, float(load.value), float(seconds), role])


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _unusable(path: Path, why: str) -> RepositoryError:
    return RepositoryError(
        "cannot use the file of measurements", where=path, why=why, fix="move it away; the next sweep makes a new one"
    )
