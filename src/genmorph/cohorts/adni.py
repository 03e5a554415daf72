"""Layout `adni`: images as the Image and Data Archive (IDA) packs them, NIfTI and DICOM.

    ADNI/<PTID>/<sequence>/<date>/<I or S number>/ADNI_<PTID>_MR_<sequence>_..._I<image>.nii

One image of a person's visit is used. With ``prefer: processed`` (what most studies of ADNI do)
an image corrected by ADNI whose name ends in `Scaled` comes first, then `N3m`, then an original;
with ``prefer: original`` originals come first. Among equals: the one that Mayo's quality control
selected, then its better grade; originals reconstructed without distortion correction (`_ND`) and
repeats come last; 1.5 tesla first in people of ADNI1, 3 tesla in others; then the lowest series
and image id. Series that failed ADNI's quality control are never used.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import Field

from genmorph.cohorts.adni_tables import (
    ImageFacts,
    Study,
    age_at,
    diagnosis_of,
    read_study,
)
from genmorph.cohorts.manifest import Scan
from genmorph.cohorts.reading import Reading, Source, leave_out, nothing_found, require_folder
from genmorph.cohorts.tables import find_tables, leave_out_withdrawn, seen, walk
from genmorph.errors import CohortError
from genmorph.validation import Options

PATTERNS = (
    "**/<PTID>/<sequence>/<date>/<I or S number>/ADNI_<PTID>_MR_*_I<image>.nii[.gz]",
    "the same with .dcm",
)
HOLDS = "ADNI's folders of people, such as 002_S_0413"
_NAME = re.compile(
    r"ADNI_(?P<person>\d{3}_S_\d{4,6})_MR_(?P<rest>.+_I(?P<image>\d+))\.(?P<kind>nii(\.gz)?|dcm)",
    re.IGNORECASE,
)
_STEM = re.compile(
    r"(?P<sequence>.*?)_+br_(raw_)?\d{8,}_(\d+_)*(S(?P<series>\d+)_)?I\d+", re.IGNORECASE
)
_FOLDER_DATE = re.compile(r"(\d{4}-\d{2}-\d{2})_\d{2}_\d{2}_\d{2}")
_T1 = re.compile(r"mpr|mp-?_?rage|mt1|spgr|t1", re.IGNORECASE)
_DERIVED = re.compile(r"mask|label|hippocamp|spatially_normali", re.IGNORECASE)
# people whose data ADNI asks not to use, by its data advisory on their quality
_ADVISORY = re.compile(r"381_S_10\d{3}")
_UNKNOWN_GRADE = 3.5  # worse than good, fair and poor; better than unusable (4)


class LayoutOptions(Options):
    """Choices of this layout."""

    prefer: Literal["processed", "original"] = Field(
        "processed", description="which image of a visit comes first; see the layout's text"
    )
    keep_visit_repeats: bool = Field(
        False, description="keep every usable image of a visit, numbered run-02, run-03, ..."
    )


@dataclass(frozen=True)
class _Image:
    """One image on disk with what is known of it."""

    id: str
    person: str
    path: str
    format: str
    size: int
    sequence: str
    series: str | None
    facts: ImageFacts

    @property
    def kind(self) -> str:
        """How ADNI made it: scaled, N3m, original, or other."""
        name = re.sub(r"_\d$", "", self.sequence).lower()
        for ending, kind in (("scaled", "Scaled"), ("n3m", "N3m")):
            if name.endswith(ending):
                return kind
        processed = re.search(r"n3|gradwarp|b1_correction", name)
        original = not processed if self.facts.original is None else self.facts.original
        return "original" if original else "other processed"


def read_cohort(source: Source, options: LayoutOptions) -> Reading:
    """Every T1 image of an ADNI download, one of each visit kept.

    Diagnosis: of the visit in `ADNIMERGE` nearest to the scan (within 180 days; `Dementia` is AD),
    a finer word of the research group kept (EMCI and LMCI of MCI, SMC of CN); else the research
    group of the collection's list, else of the XML sidecar. Age: of the collection's list, else
    `ADNIMERGE`'s age at baseline and the time since then, else of the sidecar. Session: `ses-M012`
    by the visit's months since baseline where known (`VISCODE2`, a clear visit name, or the
    nearest visit of `ADNIMERGE`), else `ses-20071105` by the day.

    Parameters
    ----------
    source : Source
        Its root holds folders of people at any depth; tables and XML sidecars may lie among them.
    options : LayoutOptions

    Raises
    ------
    CohortError
        When the folder is absent, holds no image, or no table and no sidecar describes any.
    """
    root = source.root
    require_folder(root, HOLDS)
    files = list(walk(root))
    tables = find_tables(source, files)
    aside = walk(source.tables) if source.tables else ()
    sidecars = {path for path in (*files, *aside) if _is_sidecar(path)}
    study = read_study(tables, sorted(sidecars))
    images, scans = _find(root, files, study)
    if not images and not scans:
        raise nothing_found(root, PATTERNS, HOLDS)
    if not study.images and not study.visits:
        raise CohortError(
            f"{root}: no table or XML sidecar describes its images{seen(tables)}",
            "download the collection's CSV (Image Data ID, Subject, Group, Sex, Age, Visit, "
            "Acq Date) or ADNIMERGE.csv, and set the cohort's tables to their folder",
        )
    scans += _choose(images, study, options)
    scans = leave_out_withdrawn(map(_heed_advisory, scans), source)
    scans.sort(key=lambda scan: (scan.scan_id, scan.exclude_reason is not None, scan.path))
    found = {scan.source_id for scan in scans}
    return Reading(
        scans,
        files=tuple(sorted(set(study.files))),
        notes=_notes(images, study),
        rows_without_scan=tuple(sorted(study.people - found)),
        name="ADNI",
    )


def _is_sidecar(path: Path) -> bool:
    return path.suffix.lower() == ".xml" and path.name.upper().startswith("ADNI_")


def _find(root: Path, files: Iterable[Path], study: Study) -> tuple[list[_Image], list[Scan]]:
    """Images below the root, and scans that cannot even be told apart."""
    images: list[_Image] = []
    odd: list[Scan] = []
    slices: dict[Path, list[tuple[Path, re.Match[str]]]] = defaultdict(list)
    for path in files:
        match = _NAME.fullmatch(path.name)
        if match and match["kind"].lower() == "dcm":
            slices[path.parent].append((path, match))
        elif match:
            images.append(_image(root, path, match, "nifti", path.stat().st_size, study))
    for folder, members in sorted(slices.items()):
        size = sum(path.stat().st_size for path, _ in members)
        image = _image(root, folder, members[0][1], "dicom", size, study)
        if len({match["image"] for _, match in members}) > 1:
            odd.append(
                leave_out(_scan(image, study), "matched", "slices of several images in one folder")
            )
        else:
            images.append(image)
    return images, odd


def _image(
    root: Path, path: Path, match: re.Match[str], form: str, size: int, study: Study
) -> _Image:
    below = path.relative_to(root)
    stem = _STEM.fullmatch(match["rest"])
    facts = study.images.get(match["image"], ImageFacts())
    days = [found[1] for part in below.parts if (found := _FOLDER_DATE.match(part))]
    series = stem["series"] if stem else None
    return _Image(
        id=match["image"],
        person=match["person"].upper(),
        path=below.as_posix(),
        format=form,
        size=size,
        sequence=stem["sequence"] if stem else facts.sequence or match["rest"],
        series=series,
        facts=facts.or_else(ImageFacts(date=days[0] if days else None)),
    )


def _scan(image: _Image, study: Study) -> Scan:
    facts = image.facts
    visit = study.nearest_visit(image.person, facts.date)
    months = facts.visit or (visit.visit if visit else None)
    day = (facts.date or "").replace("-", "")
    session = f"ses-{months}" if months else f"ses-{day}" if day else None
    participant = f"sub-ADNI{image.person.replace('_', '')}"
    ages = (facts.age_years, age_at(visit, facts.date), facts.sidecar_age_years)
    age = next((age for age in ages if age is not None), None)
    return Scan(
        scan_id=f"{participant}_{session}" if session else participant,
        participant_id=participant,
        session=session,
        source_id=image.person,
        path=image.path,
        format=image.format,
        size=image.size,
        skull_stripped=False,
        acquisition_date=facts.date,
        age_years=age,
        age_precision=None if age is None else "exact",
        sex=facts.sex or (visit.sex if visit else None),
        diagnosis=diagnosis_of(visit, facts.group),
        site=image.person[:3],
        scanner=facts.scanner,
        field_strength_tesla=facts.field_strength_tesla,
    )


def _choose(images: list[_Image], study: Study, options: LayoutOptions) -> list[Scan]:
    """The images as scans, one of each visit kept, the others with their reason."""
    scans: list[Scan] = []
    visits: dict[str, list[tuple[_Image, Scan]]] = defaultdict(list)
    seen: set[str] = set()
    for image in sorted(images, key=lambda image: (int(image.id), image.path)):
        scan = _scan(image, study)
        problem = _problem(image, scan, study, seen)
        seen.add(image.id)
        if problem:
            scans.append(leave_out(scan, *problem))
        else:
            visits[scan.scan_id].append((image, scan))
    for visit in visits.values():
        visit.sort(key=lambda pair: _order(pair[0], study, options))
        kind = visit[0][0].kind
        for number, (_, scan) in enumerate(visit, start=1):
            if number == 1:
                scans.append(scan)
            elif options.keep_visit_repeats:
                scans.append(replace(scan, scan_id=f"{scan.scan_id}_run-{number:02d}"))
            else:
                reason = f"another image of the visit is preferred: {kind}"
                scans.append(leave_out(scan, "selected", reason))
    return scans


def _problem(image: _Image, scan: Scan, study: Study, seen: set[str]) -> tuple[str, str] | None:
    """Stage and reason why an image cannot be chosen at all."""
    if image.facts.person and image.facts.person.upper() != image.person:
        return "matched", "the tables give the image to another person"
    if image.id not in study.images and image.person not in study.visits:
        return "matched", "no table and no sidecar describes it"
    if scan.session is None:
        return "matched", "neither visit nor date is known"
    if not _T1.search(image.sequence):
        return "selected", "not a T1 sequence"
    if _DERIVED.search(image.sequence):
        return "selected", "a mask, or warped to a template"
    if image.id in seen:
        return "selected", "the same image lies elsewhere, too"
    if image.series in study.failed or study.grades.get(image.id, 0) >= 4:
        return "selected", "failed ADNI's quality control"
    return None


def _order(image: _Image, study: Study, options: LayoutOptions) -> tuple[object, ...]:
    """Sorts the images of a visit, the preferred one first."""
    kinds = ["Scaled", "N3m", "original", "other processed"]
    if options.prefer == "original":
        kinds = ["original", "Scaled", "N3m", "other processed"]
    name = image.sequence.lower()
    tesla = image.facts.field_strength_tesla
    # people of ADNI1 have roster numbers below 2000; their protocol is that of 1.5 tesla
    wanted = 1.5 if int(image.person.rsplit("_", 1)[-1]) < 2000 else 3.0
    return (
        kinds.index(image.kind),
        image.id not in study.selected,
        study.grades.get(image.id, _UNKNOWN_GRADE),
        name.endswith("_nd"),
        bool(re.match(r"mpr-?_?r_|.*repeat", name)),
        tesla is not None and abs(tesla - wanted) > 0.5,
        int(image.series or image.id),
        int(image.id),
        image.path,
    )


def _heed_advisory(scan: Scan) -> Scan:
    if scan.exclude_reason is None and _ADVISORY.fullmatch(scan.source_id or ""):
        return leave_out(scan, "kept", "ADNI's data advisory: quality of site 381")
    return scan


def _notes(images: list[_Image], study: Study) -> tuple[str, ...]:
    notes = []
    here = {image.id for image in images}
    people = {image.person for image in images}
    absent = sum(key not in here and facts.person in people for key, facts in study.images.items())
    if absent:
        notes.append(
            f"{absent} images that the tables list for these people are not below the root: "
            "not downloaded, or the download was cut short"
        )
    if not study.visits:
        notes.append("without ADNIMERGE a diagnosis is the research group, often that of entry")
    if not study.selected:
        notes.append("no table of Mayo's quality control: repeats are chosen by name and number")
    forms = Counter(image.format for image in images)
    if len(forms) > 1:
        notes.append(f"{forms['nifti']} images are NIfTI, {forms['dicom']} are DICOM series")
    return tuple(notes)
