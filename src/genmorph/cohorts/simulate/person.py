"""Who is simulated: demographics, and the few numbers that age, sex and disease act through.

Person number i depends on the seed and on i alone, so a larger cohort starts with the same people.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from genmorph.cohorts.simulate.anatomy import SHAPE_MODES
from genmorph.cohorts.simulate.head import HeadLayers
from genmorph.errors import CohortError
from genmorph.seeds import derive_seed

SHAPE_AMPLITUDE_MM = 0.75  # of each shape mode, over people
SHAPE_LIMIT = 1.5  # standard deviations; beyond, several modes together dent a brain's sides
# The warp realises this part of a wanted medial temporal change of log volume: the shrinking tissue
# leaves the region of shrinkage.
MEDIAL_TEMPORAL_YIELD = 0.625
# how far the changes of Alzheimer's disease have gone
SEVERITY = {"CN": 0.0, "MCI": 0.5, "AD": 1.0}


@dataclass(frozen=True)
class Population:
    """Who is scanned in a source, and how often.

    Attributes
    ----------
    youngest_years, oldest_years : float
        Range of age over all scans.
    youngest_patient_years : float
        Of people whose diagnosis is not CN.
    patients : tuple of (str, float)
        Diagnoses other than CN, and their share of the people.
    two_sessions_fraction : float
        Share of the people who come a second time.
    interval_years : tuple of float
        Least and most time between the two sessions.
    age_decimals : int
        Ages are known to this precision; anatomy is made from the rounded number.
    repeat_every : int or None
        One person in so many is scanned twice within the first session.
    twins : bool
        Two people of every four are twins, identical and fraternal pairs in turn.
    """

    youngest_years: float = 40.0
    oldest_years: float = 88.0
    youngest_patient_years: float = 58.0
    patients: tuple[tuple[str, float], ...] = (("AD", 0.4),)
    two_sessions_fraction: float = 1.0 / 8.0
    interval_years: tuple[float, float] = (1.0, 2.0)
    age_decimals: int = 1
    repeat_every: int | None = None
    twins: bool = False

    def diagnosis(self, rank: float) -> str:
        """Diagnosis of the person at `rank` (0 to 1) in the order of `patients`, then CN."""
        for name, share in self.patients:
            if rank < share:
                return name
            rank -= share
        return "CN"


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
    diagnosis : {'CN', 'MCI', 'AD'}
    age_years : float
        At this scan.
    baseline_age_years : float
        At the person's first scan.
    run : int or None
        1 or 2 where the head was scanned twice within the session.
    family : int
        Number of the family's first person; 0 where families are not known.
    zygosity : {'MZ', 'DZ'} or None
        Of identical and fraternal twins.
    """

    participant_id: str
    session_id: str | None
    sex: str
    diagnosis: str
    age_years: float
    baseline_age_years: float
    run: int | None = None
    family: int = 0
    zygosity: str | None = None

    @property
    def scan_id(self) -> str:
        """BIDS entities that name the scan."""
        run = f"run-{self.run}" if self.run else None
        return "_".join(filter(None, (self.participant_id, self.session_id, run)))

    @property
    def number(self) -> int:
        """The person's number, from 1."""
        return int(self.participant_id.removeprefix("sub-"))

    @property
    def session_number(self) -> int:
        """1 for the person's first session."""
        return int(self.session_id.removeprefix("ses-")) if self.session_id else 1


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


BIDS_POPULATION = Population()


def plan_visits(n: int, seed: int, population: Population = BIDS_POPULATION) -> list[Visit]:
    """The first `n` scans of the endless cohort of `seed`.

    When the last person's second visit falls beyond `n`, the first keeps its session folder: it
    is the same file in every larger cohort.
    """
    visits: list[Visit] = []
    people = _people(seed, population)
    while len(visits) < n:
        visits.extend(next(people))
    return visits[:n]


def _people(seed: int, population: Population = BIDS_POPULATION) -> Iterator[list[Visit]]:
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
        first, zygosity = _family(number) if population.twins else (0, None)
        if zygosity:  # born on one day, and of one sex when identical
            age, other_sex = ((offset + first * step) % 1.0)[:2]
            sex = other_sex if zygosity == "MZ" else sex
        visits = _visits_of(
            f"sub-{number:04d}",
            population,
            age_rank=float(age),
            sex="F" if sex < 0.5 else "M",
            diagnosis=population.diagnosis(float(diagnosis)),
            twice=sessions < population.two_sessions_fraction,
            seed=seed,
        )
        visits = [replace(visit, family=first, zygosity=zygosity) for visit in visits]
        if population.repeat_every and number % population.repeat_every == 2:
            visits = [replace(visits[0], run=1), replace(visits[0], run=2), *visits[1:]]
        yield visits


def _family(number: int) -> tuple[int, str | None]:
    """First person of the family of person `number`, and the kind of twins they are."""
    group, place = divmod(number - 1, 4)
    if place > 1:
        return number, None
    return 4 * group + 1, "MZ" if group % 2 == 0 else "DZ"


def _visits_of(
    participant_id: str,
    population: Population,
    *,
    age_rank: float,
    sex: str,
    diagnosis: str,
    twice: bool,
    seed: int,
) -> list[Visit]:
    youngest = population.youngest_years if diagnosis == "CN" else population.youngest_patient_years
    shortest, longest = population.interval_years
    # rounded here, so that the tables hold the very number the anatomy is made from
    age = round(
        youngest + age_rank * (population.oldest_years - longest - youngest),
        population.age_decimals,
    )
    ages = [age]
    if twice:
        rng = _generator(seed, participant_id, "interval")
        ages.append(round(age + rng.uniform(shortest, longest), population.age_decimals))
    return [
        Visit(participant_id, f"ses-{k}" if twice else None, sex, diagnosis, years, age)
        for k, years in enumerate(ages, start=1)
    ]


def anatomy_of(visit: Visit, seed: int) -> Anatomy:
    """Draw a person's anatomy; visits of one person differ by what age does alone."""
    rng = _generator(seed, visit.participant_id, "anatomy")
    severity = SEVERITY[visit.diagnosis]
    years = visit.age_years - 40.0
    # in disease, atrophy goes on faster between a person's visits
    since_first = visit.age_years - visit.baseline_age_years

    size = (0.945 if visit.sex == "M" else 0.910) * (1.0 + 0.022 * _bounded(rng))
    head_scale = tuple(float(size * (1.0 + 0.015 * _bounded(rng))) for _ in range(3))
    ventricles = 0.10 + 0.019 * years + 0.20 * _bounded(rng)
    cortex = -0.0022 * years + 0.025 * _bounded(rng)
    temporal = -0.0020 * years + 0.040 * _bounded(rng)
    ventricles += severity * (0.30 + 0.03 * since_first)
    cortex -= severity * (0.06 + 0.008 * since_first)
    temporal -= severity * (0.24 + 0.02 * since_first)
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


def with_medial_temporal_loss(anatomy: Anatomy, loss: float) -> Anatomy:
    """The same person with a part of the medial temporal gray matter lost.

    Parameters
    ----------
    loss : float
        Part of `medial_temporal_ml` that is lost, from 0 to 0.3; what a person loses indeed lies
        within a tenth of it.

    Raises
    ------
    CohortError
        When the loss is out of range.
    """
    if not 0.0 <= loss <= 0.3:
        raise CohortError(
            f"a medial temporal loss of {loss:g} cannot be made", "give a fraction from 0 to 0.3"
        )
    scale = anatomy.medial_temporal_scale * (1.0 - loss) ** (1.0 / MEDIAL_TEMPORAL_YIELD)
    return replace(anatomy, medial_temporal_scale=scale)


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
