"""Find the best instances, batches, delays and threads of a repository by measuring, prove it, and write it back.

The embedded server is started under explicit control; candidates are loaded by override, so no file changes until
`--apply`. The load is NVIDIA's perf_analyzer with the model's golden inputs. What cannot win is never measured; what may win
is measured again, freshly loaded each time; the winner is compared with the present configuration in pairs.

examples:
  triton-repo sweep model_repository --latency-p99 100ms
  triton-repo sweep model_repository digits --latency-p99 50ms --budget 60s --html sweep.html
  triton-repo sweep model_repository --latency-p99 100ms --apply     # writes config.pbtxt, the spec and the manifest
  triton-repo sweep model_repository --grid instances=1,2 max_batch=4,8,16 concurrency=8,32
  triton-repo sweep gpu-box:8001 digits --golden model_repository    # a running server is only measured
  triton-repo sweep model_repository --export model-analyzer > profile.yaml

An interrupted sweep goes on where it stopped when the same command is given again.

exit codes: 0 done (also if no better configuration was found), 2 wrong usage, 5 nothing meets the constraints, or the tuned
repository does not answer as recorded, 8 no such repository or model, 9 the server did not start, died or refused, 10 no
perf_analyzer, 130 interrupted
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repository_builder import console
from repository_builder.errors import CheckFailed, SpecError

if TYPE_CHECKING:
    from repository_builder.sweep.runner import Plan


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add(
        "repository",
        metavar="REPOSITORY|URL",
        help="folder that holds the models, or host:port of a running server's gRPC",
    )
    add("model", metavar="MODEL", nargs="?", default="", help="public model (default: the only one)")
    add("--latency-p99", metavar="TIME", type=seconds, help="budget of the 99th percentile: 100ms, 0.1s, 500us")
    add("--objective", choices=("throughput", "latency", "cost"), default="throughput", help="(default: %(default)s)")
    add(
        "--min-throughput",
        metavar="N",
        type=positive,
        default=0.0,
        help="inferences/s to keep with the objectives latency and cost (default: what the present configuration gives)",
    )
    add("--budget", metavar="TIME", type=seconds, default=120.0, help="time for the search (default: 120s)")
    add("--concurrency", metavar="LOW:HIGH", type=limits, default=(1, 64), help="clients that wait (default: 1:64)")
    add(
        "--request-rate",
        metavar="R[,R]",
        type=rates,
        default=(),
        help="Poisson arrivals per second, not waiting clients",
    )
    add("--member", metavar="NAME", default="", help="vary only this model of an ensemble")
    add(
        "--grid",
        metavar="AXIS=V,V",
        nargs="+",
        help="measure every point: instances max_batch delay_us threads concurrency",
    )
    add("--window", metavar="TIME", type=seconds, default=1.0, help="length of one measurement (default: 1s)")
    add("--pairs", metavar="N", type=count, default=4, help="pairs that prove the winner (default: %(default)s)")
    add(
        "--foreign-load",
        metavar="CORES",
        type=positive,
        help="cores that other processes may use before a window counts as disturbed (default: a fifth of all, at least 0.4)",
    )
    add("--input-data", metavar="FILE", type=Path, help="recorded requests in perf_analyzer's JSON format")
    add("--golden", metavar="REPOSITORY", type=Path, help="repository with the golden inputs for a running server")
    add(
        "--control",
        action="store_true",
        help="allow changes to a running server; restored at the end",
    )
    add(
        "--apply", action="store_true", help="write the winner into the repository and its spec, if it is proven better"
    )
    add("--html", metavar="FILE", type=Path, help="write a report that opens offline")
    add(
        "--export",
        choices=("perf_analyzer", "model-analyzer"),
        help="print the same for NVIDIA's tools; measure nothing",
    )
    add("--fresh", action="store_true", help="do not take up an interrupted sweep")
    add("--json", action="store_true", help="print the result as one JSON document")


def run(options: argparse.Namespace) -> int:
    """Sweep."""
    from repository_builder.sweep import command

    if options.json and options.export:
        raise SpecError("--json and --export exclude each other", fix="leave one out")
    remote = is_url(options.repository)
    if remote and (options.apply or not options.model):
        what = "a running server cannot be written to" if options.apply else "a running server may hold many models"
        fix = "sweep the repository itself with --apply" if options.apply else "name the model behind the address"
        raise SpecError("cannot sweep this server", where=options.repository, why=what, fix=fix)
    plan = plan_of(options)
    request = command.Request(
        repository=None if remote else Path(options.repository),
        url=options.repository if remote else "",
        model=options.model,
        plan=plan,
        grid=options.grid is not None,
        input_data=options.input_data,
        golden=options.golden,
        control=options.control,
        resume=not options.fresh,
    )
    if options.export:
        print(command.exported(request, options.export), end="")
        return 0
    with console.progress("sweep", quiet=options.json) as progress:
        done = command.sweep(request, progress)
    if options.html:
        command.write_report(done, options.html)
        console.note(f"report: {options.html}")
    applied = command.apply(done, console.note) if options.apply and done.applicable else False
    if options.json:
        console.print_json(done.document | {"applied": applied})
    else:
        show(done, applied=applied, wanted=options.apply)
    if not done.found:
        raise CheckFailed.many(done.problems())
    return 0


def show(done: Any, *, applied: bool, wanted: bool) -> None:
    """The table and the verdict."""
    for title, columns, rows in done.tables():
        console.table(columns, rows, title=title)
        print()
    for line in done.sentences():
        print(line)
    if done.document["diff"] and not applied:
        print(f"\n{done.document['diff']}\n")
        print("write it: the same command with --apply" if not wanted else "not written: it is not proven better")
    elif applied:
        print("written, and verified with the golden answers")


def plan_of(options: argparse.Namespace) -> Plan:
    """The options as a plan."""
    from repository_builder.sweep import grid
    from repository_builder.sweep.goal import Goal
    from repository_builder.sweep.runner import Plan
    from repository_builder.sweep.search import Options

    cores = len(os.sched_getaffinity(0))
    return Plan(
        goal=Goal(options.objective, options.latency_p99, options.min_throughput),
        options=Options(
            limit_s=options.budget,
            explore_s=options.window,
            disturbed_cores=options.foreign_load or max(0.4, 0.2 * cores),
        ),
        cores=cores,
        concurrency=options.concurrency,
        rates=options.request_rate,
        axes=grid.axes_of(options.grid or ()),
        member=options.member,
        pairs=options.pairs,
        pair_s=2 * options.window,
    )


def is_url(text: str) -> bool:
    """Whether it is `host:port` or `grpc://…` and not a folder."""
    host, _, port = text.removeprefix("grpc://").rpartition(":")
    return not Path(text).exists() and bool(host) and port.isdigit()


def seconds(text: str) -> float:
    """`100ms`, `0.1s`, `500us`, `2m` in seconds."""
    for unit, factor in (("ms", 1e-3), ("us", 1e-6), ("s", 1.0), ("m", 60.0)):
        number = text.removesuffix(unit)
        if number != text:
            return factor * positive(number)
    raise argparse.ArgumentTypeError(f"`{text}` has no unit: write 100ms, 0.1s or 2m")


def positive(text: str) -> float:
    """A number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"`{text}` is no number above 0")
    return value


def count(text: str) -> int:
    """A whole number from 1."""
    if not text.isdigit() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"`{text}` is no whole number from 1 to 1000")
    return int(text)


def limits(text: str) -> tuple[int, int]:
    """`1:64`, or one number for both."""
    low, _, high = text.partition(":")
    try:
        found = int(low), int(high or low)
    except ValueError:
        found = (0, 0)
    if not 1 <= found[0] <= found[1]:
        raise argparse.ArgumentTypeError(f"`{text}` is no range from 1 up: write 1:64")
    return found


def rates(text: str) -> tuple[float, ...]:
    """`100,200` arrivals per second."""
    return tuple(sorted(positive(part) for part in text.split(",")))
