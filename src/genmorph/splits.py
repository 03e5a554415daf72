"""How people are shared out over train, validation and test: a rule that can be checked later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from genmorph.files import sha256_bytes


def assign_splits(
    known: Mapping[str, str], people: Iterable[str], shares: Mapping[str, float], seed: int
) -> dict[str, str]:
    """Split of each known person, as it was, then of the new ones.

    New people queue in the order of a hash of their id and go, one by one, to the split furthest
    below its share: a first call meets the shares as nearly as whole people allow, and no later
    call moves anybody.

    Parameters
    ----------
    known : mapping
        Splits of earlier calls by person, in the order they were given.
    people : iterable of str
    shares : mapping
        Share of the people in each split.
    seed : int
        Decides, with the hash, who comes first.

    Returns
    -------
    dict
        `known`, then the new people, in the order of assignment.
    """
    splits = dict(known)
    counts = dict.fromkeys(shares, 0)
    for split in splits.values():
        counts[split] += 1
    queue = sorted(
        set(people) - set(splits), key=lambda person: sha256_bytes(f"{seed}\0{person}".encode())
    )
    for person in queue:
        splits[person] = next_split(counts, shares)
        counts[splits[person]] += 1
    return splits


def next_split(counts: Mapping[str, int], shares: Mapping[str, float]) -> str:
    """The split that the next person goes to: the one furthest below its share."""
    total = sum(counts.values()) + 1
    return max(shares, key=lambda name: (shares[name] * total - counts[name], name))
