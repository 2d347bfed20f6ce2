"""The smallest set of layers that must be kept: a search by halves (QuickXplain, Junker 2004), roles before layers.

Networks repeat blocks, and what spoils a precision in one block mostly spoils it in all. So layers of one role (the same
operator and weight shape) are first tried together, and only the guilty roles are then taken apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

Layers = tuple[str, ...]


class Exhausted(Exception):
    """The search ended without a small set; the text says why."""


def smallest(
    layers: Layers,
    passes: Callable[[Layers], bool],
    *,
    max_size: int,
    max_trials: int,
    roles: Mapping[str, str] | None = None,
) -> Layers:
    """A minimal set of layers with which `passes` holds: without any one of them it would not.

    Costs about k·log2(n/k) trials for k kept layers of n, fewer where `roles` (layer → role) tell which belong together; when
    the trials run out while guilty roles are taken apart, those roles are the answer. Raises Exhausted where keeping
    every layer does not help, where more than `max_size` layers are needed, or after `max_trials`.
    """
    search = _Search(layers, passes, max_trials)
    if not layers or not search.tried(layers):
        raise Exhausted("it fails even with every heavy layer kept out of it, so no single layers are to blame")
    suspects = layers
    if roles and 1 < len(set(roles.values())) <= len(layers) // 2:
        names = tuple(dict.fromkeys(roles[layer] for layer in layers))
        guilty = _explain((), (), names, lambda some: search.tried(tuple(x for x in layers if roles[x] in some)))
        suspects = tuple(layer for layer in layers if roles[layer] in guilty)
    try:
        found = _ordered(layers, _explain((), (), suspects, search.tried)) if suspects else ()
    except Exhausted:
        if len(suspects) > max_size or suspects == layers:
            raise
        found = suspects
    if len(found) > max_size:
        raise Exhausted(f"{len(found)} layers would have to be kept, more than `max_kept: {max_size}`")
    return found


class _Search:
    """Counts the trials, and gives them their layers in the network's order."""

    def __init__(self, layers: Layers, passes: Callable[[Layers], bool], limit: int) -> None:
        self._layers, self._passes, self._limit = layers, passes, limit
        self._known: dict[Layers, bool] = {}

    def tried(self, keep: Layers) -> bool:
        """Whether it passes with these layers kept; a set that was tried before costs nothing."""
        chosen = _ordered(self._layers, keep)
        if chosen not in self._known:
            if len(self._known) >= self._limit:
                raise Exhausted(f"no small set of layers explains it within {self._limit} trials")
            self._known[chosen] = self._passes(chosen)
        return self._known[chosen]


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
