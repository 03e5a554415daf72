"""Who is simulated: demographics, and the few numbers that age, sex and disease act through.

Person number i depends on the seed and on i alone, so a larger cohort starts with the same people.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from genmorph.cohorts.simulate.anatomy import SHAPE_MODES
from genmorph.cohorts.simulate.head import HeadLayers
from genmorph.seeds import derive_seed

TWO_SESSIONS_FRACTION = 1.0 / 8.0
DISEASE_FRACTION = 0.4
SHAPE_AMPLITUDE_MM = 0.75  # of each shape mode, over people
SHAPE_LIMIT = 1.5  # standard deviations; beyond, several modes together dent a brain's sides
YOUNGEST_YEARS, YOUNGEST_DISEASE_YEARS, OLDEST_YEARS = 40.0, 58.0, 88.0


@dataclass(frozen=True)
class Visit:
    """One scan to be made.

    Attributes
    ----------
    participant_id : str
        `sub-0001`.
    session_id : str or None
        `ses-1`; None for people seen once.
    sex : {'F', 'M'}
    diagnosis : {'CN', 'AD'}
    age_years : float
        At this scan.
    baseline_age_years : float
        At the person's first scan.
    """

    participant_id: str
    session_id: str | None
    sex: str
    diagnosis: str
    age_years: float
    baseline_age_years: float

    @property
    def scan_id(self) -> str:
        """BIDS entities that name the scan."""
        return "_".join(filter(None, (self.participant_id, self.session_id)))


@dataclass(frozen=True)
class Anatomy:
    """Numbers a person's anatomy is made from, at one visit.

    Attributes
    ----------
    head_scale : tuple of float
        Size along x, y, z relative to the template.
    ventricle_scale, cortex_scale, medial_temporal_scale : float
        Wanted volume relative to the template, before head size.
    shape : tuple of float
        Weights (mm) of the population's shape modes.
    layers : HeadLayers
    """

    head_scale: tuple[float, float, float]
    ventricle_scale: float
    cortex_scale: float
    medial_temporal_scale: float
    shape: tuple[float, ...]
    layers: HeadLayers


@dataclass(frozen=True)
class Contrast:
    """Mean T1-weighted signal of tissues, white matter being one."""

    gray: float
    csf: float
    lesion: float


def plan_visits(n: int, seed: int) -> list[Visit]:
    """The first `n` scans of the endless cohort of `seed`.

    When the last person's second visit falls beyond `n`, the first keeps its session folder: it
    is the same file in every larger cohort.
    """
    visits: list[Visit] = []
    people = _people(seed)
    while len(visits) < n:
        visits.extend(next(people))
    return visits[:n]


def _people(seed: int) -> Iterator[list[Visit]]:
    """Visits of person 1, 2, ...: ages, sexes and diagnoses spread evenly even over few people.

    Each trait steps through [0, 1) by its own irrational number (an additive recurrence with the
    generalised golden ratio of four dimensions), from an offset the seed sets.
    """
    ratio = 1.0
    for _ in range(64):
        ratio = (1.0 + ratio) ** (1.0 / 5.0)
    step = ratio ** -np.arange(1.0, 5.0)
    offset = np.random.default_rng(derive_seed(seed, "demographics")).random(4)
    number = 0
    while True:
        number += 1
        age, sex, diagnosis, sessions = (offset + number * step) % 1.0
        yield _visits_of(
            f"sub-{number:04d}",
            age_rank=float(age),
            sex="F" if sex < 0.5 else "M",
            diagnosis="AD" if diagnosis < DISEASE_FRACTION else "CN",
            twice=sessions < TWO_SESSIONS_FRACTION,
            seed=seed,
        )


def _visits_of(
    participant_id: str, *, age_rank: float, sex: str, diagnosis: str, twice: bool, seed: int
) -> list[Visit]:
    youngest = YOUNGEST_DISEASE_YEARS if diagnosis == "AD" else YOUNGEST_YEARS
    # rounded here, so that the tables hold the very number the anatomy is made from
    age = round(youngest + age_rank * (OLDEST_YEARS - 2.0 - youngest), 1)
    ages = [age]
    if twice:
        rng = _generator(seed, participant_id, "interval")
        ages.append(round(age + rng.uniform(1.0, 2.0), 1))
    return [
        Visit(participant_id, f"ses-{k}" if twice else None, sex, diagnosis, years, age)
        for k, years in enumerate(ages, start=1)
    ]


def anatomy_of(visit: Visit, seed: int) -> Anatomy:
    """Draw a person's anatomy; visits of one person differ by what age does alone."""
    rng = _generator(seed, visit.participant_id, "anatomy")
    ill = visit.diagnosis == "AD"
    years = visit.age_years - 40.0
    # in disease, atrophy goes on faster between a person's visits
    since_first = visit.age_years - visit.baseline_age_years

    size = (0.945 if visit.sex == "M" else 0.910) * (1.0 + 0.022 * _bounded(rng))
    head_scale = tuple(float(size * (1.0 + 0.015 * _bounded(rng))) for _ in range(3))
    ventricles = 0.10 + 0.019 * years + 0.20 * _bounded(rng)
    cortex = -0.0022 * years + 0.025 * _bounded(rng)
    temporal = -0.0020 * years + 0.040 * _bounded(rng)
    if ill:
        ventricles += 0.30 + 0.03 * since_first
        cortex -= 0.06 + 0.008 * since_first
        temporal -= 0.24 + 0.02 * since_first
    return Anatomy(
        head_scale=head_scale,
        ventricle_scale=float(np.exp(ventricles)),
        cortex_scale=float(np.exp(cortex)),
        medial_temporal_scale=float(np.exp(temporal)),
        shape=tuple(
            float(SHAPE_AMPLITUDE_MM * _bounded(rng, SHAPE_LIMIT)) for _ in range(SHAPE_MODES)
        ),
        layers=HeadLayers(
            fluid_mm=float(2.5 + 0.3 * _bounded(rng)),
            skull_mm=float(6.5 + 0.7 * _bounded(rng)),
            scalp_mm=float(7.0 + 0.8 * _bounded(rng)),
        ),
    )


def contrast_of(visit: Visit, seed: int) -> Contrast:
    """Draw a person's tissue signals: gray and white matter grow alike with age."""
    person = _generator(seed, visit.participant_id, "contrast")
    gray = 0.69 + 0.035 * _bounded(person) + 0.0006 * (visit.age_years - 60.0)
    csf = 0.26 + 0.035 * _bounded(person)
    scan = _generator(seed, visit.scan_id, "contrast")
    gray, csf = gray + 0.006 * _bounded(scan), csf + 0.006 * _bounded(scan)
    return Contrast(gray=float(gray), csf=float(csf), lesion=float(0.85 * gray))


def _bounded(rng: np.random.Generator, limit: float = 2.5) -> float:
    """A standard normal number, held within `limit` standard deviations."""
    return float(np.clip(rng.standard_normal(), -limit, limit))


def _generator(seed: int, *use: str) -> np.random.Generator:
    return np.random.default_rng(derive_seed(seed, "simulate", *use))
