"""Measurements that last."""

from __future__ import annotations

import sqlite3

import pytest

from repository_builder.errors import RepositoryError
from repository_builder.sweep.sample import Candidate, Load, Setting
from repository_builder.sweep.store import Fingerprint, opened, path_for
from tests.unit.sweep.simulation import World

HERE, ELSEWHERE = Fingerprint({"cores": "2"}), Fingerprint({"cores": "4"})
POINT = Candidate(Setting(2, 8, 500, (4, 8), 1), Load(16))
QUESTION = {"latency_p99_ms": 100}


@pytest.fixture
def file(tmp_path):
    return tmp_path / "s.sqlite"


def test_an_interrupted_sweep_gives_back_its_windows_once_and_in_order(file):
    samples = [World(seed)(POINT, 1.0) for seed in (1, 2)]
    with opened(file) as store:
        session = store.begin(HERE, "digest", QUESTION)
        for sample in samples:
            session.keep("model", POINT, 1.0, "explore", sample)
    with opened(file) as store:
        session = store.begin(HERE, "digest", QUESTION)
        assert session.resumed == 2
        assert session.recall("other", POINT, 1.0, "explore") is None
        assert [session.recall("model", POINT, 1.0, "explore") for _ in range(3)] == [*samples, None]


@pytest.mark.parametrize(
    ("who", "subject", "question"),
    [(ELSEWHERE, "digest", QUESTION), (HERE, "other files", QUESTION), (HERE, "digest", {"latency_p99_ms": 50})],
)
def test_nothing_is_taken_over_from_another_machine_model_or_question(file, who, subject, question):
    with opened(file) as store:
        store.begin(HERE, "digest", QUESTION).keep("model", POINT, 1.0, "explore", World(1)(POINT, 1.0))
        assert store.begin(who, subject, question).resumed == 0


def test_a_finished_sweep_is_not_taken_up_again(file):
    with opened(file) as store:
        session = store.begin(HERE, "digest", QUESTION)
        session.keep("model", POINT, 1.0, "explore", World(1)(POINT, 1.0))
        session.finish({"verdict": "+1 %"})
        assert store.begin(HERE, "digest", QUESTION).resumed == 0
        assert store.sessions()[1]["result"] == {"verdict": "+1 %"}
        ((model, candidate, role, sample),) = store.windows(session.number)
    assert (model, candidate, role) == ("model", POINT, "explore")
    assert sample == World(1)(POINT, 1.0)


def test_a_file_that_is_no_store_is_explained(file):
    file.write_text("nonsense" * 100)
    with pytest.raises(RepositoryError, match="file of measurements"), opened(file):
        pass


def test_a_newer_format_is_refused_and_left_alone(file):
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(RepositoryError) as caught, opened(file):
        pass
    assert "format 99" in str(caught.value)
    connection = sqlite3.connect(file)
    assert connection.execute("PRAGMA user_version").fetchone() == (99,)
    connection.close()


def test_the_file_lies_beside_the_repository_not_in_it(tmp_path, fresh_cache):
    repository = tmp_path / "repo"
    repository.mkdir()
    assert path_for(repository).parent == tmp_path
    assert path_for(None, "host:8001").is_relative_to(fresh_cache)
