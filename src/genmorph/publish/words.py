"""Words that figures of all studies share: whom a picture is of, and what stands under it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from genmorph.publish.figures import small_print
from genmorph.publish.views import voxel_sizes

if TYPE_CHECKING:
    from genmorph.store import Store

OLD_YEARS = 90  # from here on ages are not told apart


class Scan(Protocol):
    """What a picture may tell of a scan; a row of the manifest has it."""

    scan_id: str
    participant_id: str
    age_years: float | None
    age_precision: str | None
    diagnosis: str | None


def describe(scan: Scan, *, diagnosis: bool = True) -> str:
    """Age and, where wanted, diagnosis of a scan, as far as known.

    Ids stay out of a picture, and ages from 90 years are not told apart: it is made to be shared.
    Of an age known as a bin it says `about`.
    """
    words = []
    if scan.age_years is not None:
        years = round(scan.age_years)  # what is printed decides: 89.6 would print as 90
        about = "about " if scan.age_precision == "bin" else ""
        words.append(f"{OLD_YEARS}+ years" if years >= OLD_YEARS else f"{about}{years} years")
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
