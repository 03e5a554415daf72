"""What ADNI's tables and XML sidecars say of images and visits, whichever release they come from.

A table is known by its header. Of images: the collection's list of the Image and Data Archive,
`MPRAGEMETA`, and since October 2024 `*_All_Images_*`. Of visits: `ADNIMERGE`. Of quality:
`MAYOADIRL_MRI_IMAGEQC_*` and `MAYOADIRL_MRI_QUALITY_ADNI3` (one series of a visit is selected, each
has a grade) and `MRIQUALITY` or `MRIPROT` (a series passes or not).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from genmorph.cohorts.tables import Row, Table, days_apart, first, iso_date, number, sex_of
from genmorph.errors import CohortError

NEAREST_VISIT_DAYS = 180
_IMAGE = ("image data id", "image_data_id", "image id", "image_id", "imageuid")
_PERSON = ("subject", "subject id", "subject_id", "subjectid", "ptid")
_DATE = ("acq date", "study date", "image_date", "scandate", "acq_date")
_TYPE = ("type", "image_type", "orig/proc")
_SEQUENCE = ("description", "image_description", "sequence")
_QUALITY_IMAGE = ("loni_image",)
_QUALITY_SERIES = ("loniuid",)
_FINER = {"CN": ("CN", "SMC"), "MCI": ("MCI", "EMCI", "LMCI"), "AD": ("AD",)}
_MONTH = re.compile(r"(?:^m|month\s*)(\d{1,3})\b", re.IGNORECASE)


@dataclass(frozen=True)
class ImageFacts:
    """What is known of one image; None where nothing says it.

    Attributes
    ----------
    visit : str or None
        `M000`, `M012`, ...: months since the person's baseline.
    group : str or None
        Research group, which may be that of the person's entry.
    original : bool or None
        Whether it is as the scanner made it.
    sidecar_age_years : float or None
        As an XML sidecar has it; the tables' age comes before it.
    """

    person: str | None = None
    date: str | None = None
    visit: str | None = None
    age_years: float | None = None
    sex: str | None = None
    group: str | None = None
    sequence: str | None = None
    original: bool | None = None
    field_strength_tesla: float | None = None
    scanner: str | None = None
    sidecar_age_years: float | None = None

    def or_else(self, other: ImageFacts) -> ImageFacts:
        """The same, what is unknown taken from `other`."""
        missing = {
            each.name: getattr(other, each.name)
            for each in fields(self)
            if getattr(self, each.name) is None
        }
        return replace(self, **missing)


@dataclass(frozen=True)
class Visit:
    """A row of `ADNIMERGE`."""

    date: str
    visit: str | None
    diagnosis: str | None
    age_years: float | None
    sex: str | None


@dataclass
class Study:
    """All that the tables say.

    Attributes
    ----------
    images : dict
        By image id without its leading `I`.
    visits : dict
        By person.
    selected, failed : set of str
        Images that Mayo's quality control selected; series that did not pass.
    grades : dict
        Mayo's grade by image, 1 (best) to 4.
    people : set of str
        Whom the lists of images name, or where there is none, the visits.
    """

    images: dict[str, ImageFacts] = field(default_factory=dict)
    visits: dict[str, list[Visit]] = field(default_factory=dict)
    selected: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    grades: dict[str, float] = field(default_factory=dict)
    people: set[str] = field(default_factory=set)
    files: list[Path] = field(default_factory=list)

    def nearest_visit(self, person: str, day: str | None) -> Visit | None:
        """The person's visit nearest to a day, within `NEAREST_VISIT_DAYS`."""
        visits = self.visits.get(person, [])
        if day is None or not visits:
            return None
        nearest = min(visits, key=lambda visit: (days_apart(visit.date, day), visit.date))
        return nearest if days_apart(nearest.date, day) <= NEAREST_VISIT_DAYS else None


def read_study(tables: Iterable[Table], sidecars: Iterable[Path]) -> Study:
    """Join tables and sidecars; the first that knows a thing decides.

    The order: the collection's list, `All_Images`, `MPRAGEMETA`, then the sidecars.

    Raises
    ------
    CohortError
        When a table cannot be understood, or a sidecar is no safe XML.
    """
    study = Study()
    lists = [table for table in tables if table.has(_IMAGE, _PERSON, _DATE)]
    for table in sorted(lists, key=lambda table: (_rank(table), str(table.path))):
        study.files.append(table.path)
        for row in table.rows:
            _add(study, first(row, _IMAGE), _image_facts(row, table.path))
    study.people = {facts.person for facts in study.images.values() if facts.person}
    for table in tables:
        _read_visits(table, study)
        _read_quality(table, study)
    study.people = study.people or set(study.visits)
    for path in sidecars:
        image, facts = read_sidecar(path)
        study.files.append(path)
        _add(study, image, facts)
    for visits in study.visits.values():
        visits.sort(key=lambda visit: visit.date)
    return study


def _rank(table: Table) -> int:
    columns = ("image data id", "image_id", "imageuid")
    return next((rank for rank, name in enumerate(columns) if name in table.columns), 1)


def _add(study: Study, image: str | None, facts: ImageFacts) -> None:
    if image is not None:
        key = image_key(image)
        study.images[key] = study.images.get(key, ImageFacts()).or_else(facts)


def image_key(text: str) -> str:
    """An image or series id without its leading letter: `I120917` and `120917` are one."""
    return text.strip().lstrip("ISis").removesuffix(".0")


def _image_facts(row: Row, path: Path) -> ImageFacts:
    kind = (first(row, _TYPE) or "").lower()
    code = first(row, ("viscode2",))
    return ImageFacts(
        person=first(row, _PERSON),
        date=iso_date(first(row, _DATE)),
        visit=month_of(code) if code else month_of(first(row, ("visit",))),
        age_years=number(row, ("age", "subject_age"), path),
        sex=sex_of(first(row, ("sex", "gender"))),
        group=group_of(first(row, ("group", "research group", "research_group"))),
        sequence=first(row, _SEQUENCE),
        original=kind == "original" if kind else None,
        field_strength_tesla=number(row, ("magstrength", "field_strength"), path),
    )


def month_of(text: str | None) -> str | None:
    """Months since the person's baseline from a visit's code or name; None where unclear.

    Years count from the person's entry into one phase of the study ("ADNI2 Year 1 Visit"), and so
    say nothing about those who came from an earlier phase.

    Examples
    --------
    >>> month_of("m12"), month_of("ADNI1/GO Month 6"), month_of("bl"), month_of("v05")
    ('M012', 'M006', 'M000', None)
    """
    if text is None or "cont" in text.lower():
        return None
    if text.lower() in ("bl", "sc", "scmri") or re.search(r"screening|baseline", text, re.I):
        return "M000"
    found = _MONTH.search(text)
    return f"M{int(found[1]):03d}" if found else None


def group_of(text: str | None) -> str | None:
    """A research group as ADNI spells it: CN, SMC, EMCI, MCI, LMCI or AD; others are None."""
    word = {"NL": "CN", "NORMAL": "CN", "DEMENTIA": "AD"}.get((text or "").upper(), text or "")
    return word.upper() if any(word.upper() in words for words in _FINER.values()) else None


def diagnosis_of(visit: Visit | None, group: str | None) -> str | None:
    """The diagnosis at a scan.

    That of the nearest visit decides; a research group that says the same more finely (EMCI or
    LMCI of MCI, SMC of CN) stays. Without a visit the research group is taken, which may be that
    of the person's entry.
    """
    if visit is None or visit.diagnosis is None:
        return group
    return group if group in _FINER.get(visit.diagnosis, ()) else visit.diagnosis


def _read_visits(table: Table, study: Study) -> None:
    if not table.has(("ptid",), ("viscode",), ("examdate",)):
        return
    study.files.append(table.path)
    baseline: dict[str, str] = {}
    for row in table.rows:
        person, day = row.get("ptid"), iso_date(row.get("examdate"))
        if person and day and (row.get("viscode") or "").lower() in ("bl", "sc"):
            baseline[person] = min(day, baseline.get(person, day))
    for row in table.rows:
        person, day = row.get("ptid"), iso_date(row.get("examdate"))
        if not person or not day:
            continue
        age = number(row, ("age",), table.path)
        start = baseline.get(person)
        if age is not None:  # ADNIMERGE repeats the age at baseline in every row
            age = None if start is None else age + _years(start, day)
        visit = Visit(
            date=day,
            visit=month_of(row.get("viscode")),
            diagnosis=group_of(row.get("dx")),
            age_years=age,
            sex=sex_of(row.get("ptgender")),
        )
        study.visits.setdefault(person, []).append(visit)


def _years(start: str, day: str) -> float:
    days = days_apart(start, day)
    return (days if day >= start else -days) / 365.25


def age_at(visit: Visit | None, day: str | None) -> float | None:
    """Age on a day, from the age at the nearest visit, to a hundredth of a year."""
    if visit is None or visit.age_years is None or day is None:
        return None
    return round(visit.age_years + _years(visit.date, day), 2)


def _read_quality(table: Table, study: Study) -> None:
    if table.has(_QUALITY_IMAGE, ("series_quality", "series_selected")):
        study.files.append(table.path)
        for row in table.rows:
            image = first(row, _QUALITY_IMAGE)
            if image is None:
                continue
            if (number(row, ("series_selected",), table.path) or 0) == 1:
                study.selected.add(image_key(image))
            grade = number(row, ("series_quality",), table.path)
            if grade is not None and grade > 0:
                study.grades[image_key(image)] = grade
    elif table.has(_QUALITY_SERIES, ("pass",)):
        study.files.append(table.path)
        for row in table.rows:
            series = first(row, _QUALITY_SERIES)
            if series is not None and number(row, ("pass",), table.path) == 0:
                study.failed.add(image_key(series))


def read_sidecar(path: Path) -> tuple[str | None, ImageFacts]:
    """Image id and facts of an XML sidecar (root element `idaxs`).

    Raises
    ------
    CohortError
        When the file is damaged, or holds a document type or entities, which ADNI's never do.
    """
    from xml.etree.ElementTree import ParseError

    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import parse

    try:
        root = parse(path, forbid_dtd=True).getroot()
    except (ParseError, DefusedXmlException) as error:
        raise CohortError(
            f"{path}: not a safe XML sidecar ({type(error).__name__}: {error})",
            "download the file anew, or remove it",
        ) from None
    words: dict[str, str] = {}
    terms: dict[str, str] = {}
    for element in root.iter():
        text = (element.text or "").strip()
        name = str(element.tag).rsplit("}", 1)[-1]
        if name == "protocol" and text:
            terms.setdefault(element.get("term", ""), text)
        elif text:
            words.setdefault(name, text)
    image = words.get("imageUID") or _last_number(path)
    return image, ImageFacts(
        person=words.get("subjectIdentifier"),
        date=iso_date(words.get("dateAcquired")),
        visit=month_of(words.get("visitIdentifier")),
        sidecar_age_years=_number_or_error(words.get("subjectAge"), path),
        sex=sex_of(words.get("subjectSex")),
        group=group_of(words.get("researchGroup")),
        field_strength_tesla=_number_or_error(terms.get("Field Strength"), path),
        scanner=" ".join(word for key in ("Manufacturer", "Mfg Model") if (word := terms.get(key)))
        or None,
    )


def _last_number(path: Path) -> str | None:
    found = re.search(r"_I(\d+)$", path.stem)
    return found[1] if found else None


def _number_or_error(text: str | None, path: Path) -> Any:
    return number({"value": text}, ("value",), path)
