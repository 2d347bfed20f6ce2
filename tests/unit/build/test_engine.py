"""The build engine: keys, cache, order, explanations. It knows no stage of ours, so neither do these tests."""

from __future__ import annotations

import errno
import multiprocessing
import os
from pathlib import Path
from typing import Any, Literal

import pytest

from repository_builder.build import graph
from repository_builder.build.cache import Cache
from repository_builder.build.run import run
from repository_builder.build.stage import Stage, StageContext, content_digest
from repository_builder.console import Progress, silent
from repository_builder.errors import CacheError, StageFailed


class Quiet:
    def stage(self, stage: Stage, event: Literal["cached", "running", "waiting", "done"]) -> None: ...

    def progress(self, stage: Stage) -> Progress:
        return silent


def shout(context: StageContext) -> None:
    text = context.sources["text"].read_text() if "text" in context.sources else ""
    text += "".join((folder / "out.txt").read_text() for folder in context.inputs.values())
    (context.out / "out.txt").write_text(text.upper() + str(context.params.get("suffix", "")))


def fail(context: StageContext) -> None:
    (context.out / "half").write_text("half")
    raise StageFailed("no", why="because", fix="do")


def full_disk(context: StageContext) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def chain(folder: Path, text: str = "a", suffix: str = "", tools: dict[str, str] | None = None) -> dict[str, Stage]:
    source = folder / "text"
    source.write_text(text)
    first = Stage("m/first", shout, sources={"text": source}, tools=tools or {})
    second = Stage("m/second", shout, params={"suffix": suffix}, needs={"first": first})
    return {"first": first, "second": second}


def build(stages: dict[str, Stage], cache: Cache) -> tuple[str, ...]:
    return run(stages, cache, Quiet()).ran


def test_a_second_run_does_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    assert build(chain(tmp_path), cache) == ("m/first", "m/second")
    assert build(chain(tmp_path), cache) == ()


def test_a_parameter_reruns_only_what_is_downstream(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    build(chain(tmp_path), cache)
    assert build(chain(tmp_path, suffix="!"), cache) == ("m/second",)
    assert build(chain(tmp_path, text="b", suffix="!"), cache) == ("m/first", "m/second")
    assert build(chain(tmp_path, tools={"gpu": "other"}), cache) == ("m/first", "m/second")


def test_bytes_count_and_places_and_times_do_not(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    one, other = chain(tmp_path), chain(tmp_path / "elsewhere")
    os.utime(tmp_path / "elsewhere/text", (0, 0))
    assert one["second"].key == other["second"].key
    assert one["second"].key != chain(tmp_path, text="c")["second"].key


def test_folders_are_digested_with_their_names(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a").write_text("x")
    before = content_digest(tmp_path / "d")
    (tmp_path / "d/a").rename(tmp_path / "d/b")
    assert content_digest(tmp_path / "d") != before


def test_a_failed_stage_leaves_nothing_and_names_what_was_not_run(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    broken = Stage("m/broken", fail)
    after = Stage("m/after", shout, needs={"broken": broken})
    with pytest.raises(StageFailed) as caught:
        build({"after": after}, cache)
    assert any("m/after" in note for note in caught.value.__notes__)
    assert broken not in cache
    assert not list((tmp_path / "cache/unfinished").iterdir())


def test_a_full_disk_is_explained(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="cannot store the result of m/full"):
        build({"full": Stage("m/full", full_disk)}, Cache(tmp_path / "cache"))


@pytest.mark.parametrize("damage", ["change", "remove", "add", "seal"])
def test_a_damaged_entry_is_a_warned_miss(tmp_path: Path, damage: str) -> None:
    warnings: list[str] = []
    cache = Cache(tmp_path / "cache", warnings.append)
    stages = chain(tmp_path)
    build(stages, cache)
    files = cache.get(stages["first"])
    assert files is not None
    if damage == "change":
        (files / "out.txt").write_text("tampered")
    elif damage == "remove":
        (files / "out.txt").unlink()
    elif damage == "add":
        (files / "more").write_text("")
    else:
        (files.parent / "entry.json").write_text("{")
    assert build(chain(tmp_path), cache) == ("m/first",)
    assert "m/first is damaged" in warnings[0]


def test_plan_says_why(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    before = chain(tmp_path, tools={"onnx": "1.20.1"})
    build(before, cache)
    recipes = {stage.name: stage.recipe for stage in before.values()}
    after = chain(tmp_path, tools={"onnx": "1.21.0"})
    steps = {step.stage.name: step for step in graph.explain(after, cache, recipes)}
    assert steps["m/first"].why == "tools.onnx: 1.20.1 → 1.21.0"
    assert steps["m/second"].why == "first changed"
    assert [step.action for step in graph.explain(before, cache, recipes)] == ["cached", "cached"]
    assert next(graph.explain(after, cache, {})).why == "never built"


def slow(context: StageContext) -> None:
    import time

    time.sleep(0.5)
    with Path(context.params["log"]).open("a") as log:
        log.write("ran\n")


def _build_slow(root: Path, log: Path) -> None:
    build({"slow": Stage("m/slow", slow, params={"log": str(log)})}, Cache(root))


def test_two_processes_do_the_work_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    arguments: tuple[Any, ...] = (tmp_path / "cache", tmp_path / "log")
    processes = [context.Process(target=_build_slow, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert (tmp_path / "log").read_text() == "ran\n"


def test_clean_refuses_a_folder_that_is_no_cache(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    with pytest.raises(CacheError, match="cannot clean"):
        Cache(tmp_path).clean()
    cache = Cache(tmp_path / "cache")
    build(chain(tmp_path), cache)
    assert cache.clean() > 0
    assert chain(tmp_path)["first"] not in cache


def test_an_unwritable_cache_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match="cannot use the build cache"):
        build(chain(tmp_path), Cache(tmp_path / "file/cache"))
