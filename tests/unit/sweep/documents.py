"""A document as a real sweep makes it, out of simulated measurements."""

from __future__ import annotations

from typing import Any

from repository_builder.repository import pbtxt
from repository_builder.sweep.document import document
from repository_builder.sweep.goal import Goal
from repository_builder.sweep.runner import Part, Plan, Result
from repository_builder.sweep.sample import Candidate, Load, Setting
from repository_builder.sweep.search import Options, search
from repository_builder.sweep.space import Runner, Space
from repository_builder.sweep.store import Fingerprint
from repository_builder.sweep.subject import Member, Subject
from repository_builder.sweep.verdict import judge_pairs
from tests.unit.sweep.simulation import World

START = Setting(1, 8)
SPACE = Space("model", START, (Runner(1), Runner(2), Runner(3)), (1, 2, 4, 8, 16))


def simulated(name: str = "model", budget_s: float = 0.06, seed: int = 1) -> dict[str, Any]:
    """A finished sweep of one model."""
    config = pbtxt.parse('name: "model" backend: "onnxruntime" max_batch_size: 8').config
    plan = Plan(Goal(budget_s=budget_s), Options(limit_s=90), 2)
    world = World(seed)
    outcome = search(SPACE, world, plan.goal, plan.options)
    assert outcome.leader is not None
    best = outcome.leader.candidate
    sides: list[list[Any]] = [
        [world(c, 1.0, reload=True) for _ in range(4)] for c in (Candidate(START, Load(16)), best)
    ]
    result = Result(
        start={"model": START},
        start_load=Load(16),
        winner={"model": best.setting},
        winner_load=best.load,
        parts=(Part("model", SPACE, outcome, "the only model"),),
        before=tuple(sides[0]),
        after=tuple(sides[1]),
        verdict=judge_pairs(sides[0], sides[1], budget_s=budget_s, disturbed_cores=2),
        search_s=outcome.seconds,
        total_s=world.clock(),
        measuring_s=30.0,
        loading_s=20.0,
    )
    subject = Subject(name, (Member("model", config, 16, "limit"),), {}, "digest")
    return document(
        subject, plan, result, Fingerprint({"cores": "2", "processor": "a <b> & c"}), "--- a\n+++ b\n-x\n+y"
    )
