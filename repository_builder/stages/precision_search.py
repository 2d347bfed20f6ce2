"""The smallest set of layers that must be kept: a search by halves (QuickXplain, Junker 2004)."""

from __future__ import annotations

from collections.abc import Callable

Layers = tuple[str, ...]


class Exhausted(Exception):
    """The search ended without a small set; the text says why."""


def smallest(layers: Layers, passes: Callable[[Layers], bool], *, max_size: int, max_trials: int) -> Layers:
    """A minimal set of layers with which `passes` holds: without any one of them it would not.

    Costs about k·log2(n/k) trials for k kept layers of n. Raises Exhausted where keeping every layer does not help, where
    more than `max_size` layers are needed, or after `max_trials`.
    """
    trials = 0

    def tried(keep: Layers) -> bool:
        nonlocal trials
        trials += 1
        if trials > max_trials:
            raise Exhausted(f"no small set of layers explains it within {max_trials} trials")
        return passes(_ordered(layers, keep))

    if not layers or not tried(layers):
        raise Exhausted("it fails even with every heavy layer kept out of it, so no single layers are to blame")
    found = _explain((), (), layers, tried)
    if len(found) > max_size:
        raise Exhausted(f"{len(found)} layers would have to be kept, more than `max_kept: {max_size}`")
    return _ordered(layers, found)


def _explain(fixed: Layers, added: Layers, candidates: Layers, passes: Callable[[Layers], bool]) -> Layers:
    """The part of `candidates` that is needed besides `fixed`; `added` are the members of `fixed` not yet tried with it."""
    if added and passes(fixed):
        return ()
    if len(candidates) == 1:
        return candidates
    half = len(candidates) // 2
    first, second = candidates[:half], candidates[half:]
    from_second = _explain(fixed + first, first, second, passes)
    from_first = _explain(fixed + from_second, from_second, first, passes)
    return from_first + from_second


def _ordered(layers: Layers, keep: Layers) -> Layers:
    chosen = set(keep)
    return tuple(layer for layer in layers if layer in chosen)
