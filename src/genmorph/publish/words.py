"""Words that figures of all studies share: whom a picture is of, and what stands under it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from genmorph.publish.figures import small_print
from genmorph.publish.views import voxel_sizes

if TYPE_CHECKING:
    from genmorph.store import Store


class Scan(Protocol):
    """What a picture may tell of a scan; a row of the manifest has it."""

    scan_id: str
    participant_id: str
    age_years: float | None
    diagnosis: str | None


def describe(scan: Scan, *, diagnosis: bool = True) -> str:
    """Age and, where wanted, diagnosis of a scan, as far as known.

    Ids stay out of a picture, and ages from 90 years are not told apart: it is made to be shared.
    """
    words = []
    if scan.age_years is not None:
        words.append("90+ years" if scan.age_years >= 90 else f"{scan.age_years:.0f} years")
    if diagnosis and scan.diagnosis is not None:
        words.append(scan.diagnosis)
    return ", ".join(words) or "age unknown"


def words_below(
    store: Store, values: Mapping[str, Any], notes: Sequence[str] = (), *, sides: bool = True
) -> str:
    """Small print of a figure; `store` tells what must be said of the data, and whose they are."""
    source = store.description.source
    run = [f"Model {source['model']}, seed {source['seed']}."] if "seed" in source else []
    return small_print(
        data_label=store.description.data_label,
        shape=store.shape,
        voxel_mm=voxel_sizes(store.affine),
        scale=values["scale"],
        notes=[*run, *notes],
        sides=sides,
    )
