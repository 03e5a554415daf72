"""How people are shared out over train, validation and test: a rule that can be checked later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from genmorph.files import sha256_bytes

SPLITS = ("train", "validation", "test")
UNUSED = "unused"  # people beyond the numbers that the splits take


def assign_splits(
    known: Mapping[str, str], people: Iterable[str], shares: Mapping[str, float], seed: int
) -> dict[str, str]:
    """Split of each known person, as it was, then of the new ones.

    New people queue in the order of a hash of their id and go, one by one, to the split furthest
    below its share: a first call meets the shares as nearly as whole people allow, and no later
    call moves anybody. Where shares are numbers of people, splits fill up and the rest of the queue
    stays `UNUSED`.

    Where families are known, "person" is a family: its members go together.

    Parameters
    ----------
    known : mapping
        Splits of earlier calls by person, in the order they were given.
    people : iterable of str
    shares : mapping
        Share of the people in each split, or how many people it takes.
    seed : int
        Decides, with the hash, who comes first.

    Returns
    -------
    dict
        `known`, then the new people, in the order of assignment.
    """
    splits = dict(known)
    counts = dict.fromkeys((*shares, UNUSED), 0)
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
    given = sum(counts[name] for name in shares)
    if in_people(shares):
        wanted = sum(shares.values())
        shares = {name: number / wanted for name, number in shares.items() if counts[name] < number}
        if not shares:
            return UNUSED
    return max(shares, key=lambda name: (shares[name] * (given + 1) - counts[name], name))


def in_people(shares: Mapping[str, float]) -> bool:
    """Whether shares are numbers of people."""
    return all(share >= 1 for share in shares.values())
