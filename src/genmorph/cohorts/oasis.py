"""Layout `oasis`: the discs of OASIS-1 (cross-sectional), or OASIS-3 as it is served in BIDS names.

    <root>/disc1/OAS1_0001_MR1/RAW/OAS1_0001_MR1_mpr-1_anon.{hdr,img}
    <root>/disc1/OAS1_0001_MR1/PROCESSED/MPRAGE/SUBJ_111/OAS1_0001_MR1_mpr_n4_anon_sbj_111.{hdr,img}
    <root>/disc1/OAS1_0001_MR1/PROCESSED/MPRAGE/T88_111/..._111_t88_gfc.{hdr,img}, ..._masked_gfc
    <root>/sub-OAS30001/ses-d0129/anat/sub-OAS30001_ses-d0129_T1w.nii.gz

The discs' images are Analyze 7.5, which does not say left from right. Which way their axes run is
the discs' convention: images as acquired and their average run anterior, superior, left (Analyze's
sagittal order); images in the atlas space T88 run left, anterior, superior (its transverse order).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from genmorph.cohorts import oasis3
from genmorph.cohorts.manifest import Scan
from genmorph.cohorts.reading import Reading, Source, leave_out, nothing_found, require_folder
from genmorph.cohorts.tables import (
    Row,
    by_person,
    find_tables,
    leave_out_withdrawn,
    number,
    seen,
    sex_of,
    walk,
)
from genmorph.errors import CohortError
from genmorph.validation import Options

PATTERNS = ("**/OAS1_<number>_MR<n>/RAW/*_mpr-<n>_anon.{hdr,img}", *oasis3.PATTERNS)
HOLDS = "the discs (disc1/OAS1_0001_MR1, ...) or the sub-OAS3* folders"
# ending of the file's stem, way its axes run, whether the skull is gone
_IMAGES = {
    "raw": (r"mpr-(?P<repeat>\d+)_anon", "ASL", False),
    "averaged": (r"mpr_n\d+_anon_sbj_111", "ASL", False),
    "processed": (r"mpr_n\d+_anon_111_t88_gfc", "LAS", False),
    "stripped": (r"mpr_n\d+_anon_111_t88_masked_gfc", "LAS", True),
}
_FOLDER = re.compile(r"(?P<person>OAS1_\d{4})_(?P<visit>MR\d+)")
_COLUMNS = ("m/f", "age", "cdr", "etiv", "nwbv")
_TEXT_LINE = re.compile(r"\s*([A-Za-z/ ]+?)\s*:\s*(.*?)\s*")


class LayoutOptions(Options):
    """Choices of this layout; those of images concern OASIS-1 alone."""

    image: Literal["raw", "averaged", "processed", "stripped"] = Field(
        "raw",
        description="OASIS-1: the first image as acquired; the average of the visit's images; "
        "that in the atlas space T88, corrected for gain; or this without the skull",
    )


def read_cohort(source: Source, options: LayoutOptions) -> Reading:
    """Every T1 image of the kind asked for, one of each visit kept.

    OASIS-1: diagnosis from the Clinical Dementia Rating, `CN` of 0 and `AD` above; people without
    a rating (the young) have none. The visit MR2 is of the same person as MR1. Sex, age and rating
    come from the table (`ID`, `M/F`, `Age`, `CDR`), else from the text file beside the scan.

    Parameters
    ----------
    source : Source
    options : LayoutOptions

    Raises
    ------
    CohortError
        When the folder is absent, holds no image, or nothing describes any.
    """
    root = source.root
    require_folder(root, HOLDS)
    files = list(walk(root))
    tables = find_tables(source, files)
    visits = _visits(root, files)
    if oasis3.is_there(files):
        if visits:
            raise CohortError(
                f"{root}: holds OASIS-1 and OASIS-3",
                "make two cohorts, each with a root of its own",
            )
        reading = oasis3.read(root, files, tables)
        return replace(reading, scans=leave_out_withdrawn(reading.scans, source))
    if not visits:
        raise nothing_found(root, PATTERNS, HOLDS)
    every = tables
    tables = [table for table in every if table.has(("id",), ("m/f",), ("age",), ("cdr",))]
    texts = _read_texts(files, visits)
    if not tables and not texts:
        raise CohortError(
            f"{root}: no table with the columns ID, M/F, Age and CDR, and no text file of a visit"
            + seen(every),
            "save oasis_cross-sectional (a spreadsheet) as CSV, and set the cohort's tables to "
            "its folder",
        )
    in_table = by_person(tables, "id", _COLUMNS)
    rows = texts | {visit: (tables[0].path, row) for visit, row in in_table.items()}
    scans = []
    for visit, (folder, members) in sorted(visits.items()):
        facts = _at_visit(*rows[visit]) if visit in rows else None
        scans += _read_visit(root, visit, folder, members, facts, options)
    found = {scan.source_id for scan in scans}
    described_in = {table.path for table in tables} | {path for path, _ in texts.values()}
    return Reading(
        leave_out_withdrawn(scans, source),
        files=tuple(sorted(described_in)),
        notes=_notes(options),
        rows_without_scan=tuple(sorted({visit.rsplit("_", 1)[0] for visit in in_table} - found)),
        name="OASIS-1",
    )


def _visits(root: Path, files: Iterable[Path]) -> dict[str, tuple[Path, list[Path]]]:
    """Folder and files of each visit.

    Raises
    ------
    CohortError
        When a visit lies in two places.
    """
    folders: dict[str, Path] = {}
    members: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        parts = path.relative_to(root).parts
        depth = next((n for n, part in enumerate(parts[:-1]) if _FOLDER.fullmatch(part)), None)
        if depth is None:
            continue
        folder = root.joinpath(*parts[: depth + 1])
        known = folders.setdefault(folder.name, folder)
        if known != folder:
            raise CohortError(
                f"visit {folder.name} is there twice: {known.relative_to(root)} and "
                f"{folder.relative_to(root)}",
                "remove one of the two folders",
            )
        members[folder.name].append(path)
    return {visit: (folders[visit], members[visit]) for visit in folders}


def _read_visit(
    root: Path,
    visit: str,
    folder: Path,
    members: list[Path],
    facts: dict[str, Any] | None,
    options: LayoutOptions,
) -> list[Scan]:
    """Scans of one visit: the image asked for, and its repeats left out."""
    ending, axes, stripped = _IMAGES[options.image]
    pattern = re.compile(rf"{visit}_{ending}\.(img|hdr|nii|nii\.gz)")
    named = _FOLDER.fullmatch(visit)
    assert named is not None  # `_visits` made sure
    participant = f"sub-{named['person'].replace('_', '')}"

    def scan(path: Path, form: str, size: int) -> Scan:
        made = Scan(
            scan_id=f"{participant}_ses-{named['visit']}",
            participant_id=participant,
            session=f"ses-{named['visit']}",
            source_id=named["person"],
            path=path.relative_to(root).as_posix(),
            format=form,
            size=size,
            skull_stripped=stripped,
            field_strength_tesla=1.5,
            **(facts or {}),
        )
        if facts is None:
            return leave_out(made, "matched", "no table and no text file describes the visit")
        return made

    names = {path.name: path for path in members if pattern.fullmatch(path.name)}
    found: list[Scan] = []
    for stem in sorted({re.split(r"\.(?=img|hdr|nii)", name)[0] for name in names}):
        nifti = names.get(f"{stem}.nii.gz") or names.get(f"{stem}.nii")
        pair = [names.get(f"{stem}{suffix}") for suffix in (".hdr", ".img")]
        if nifti is not None:
            one = scan(nifti, "nifti", nifti.stat().st_size)
        else:
            there = [path for path in pair if path is not None]
            one = scan(there[-1], f"analyze-{axes}", sum(path.stat().st_size for path in there))
            if len(there) < 2 and one.exclude_reason is None:
                other = ".img" if pair[1] is None else ".hdr"
                one = leave_out(one, "selected", f"its {other} file is missing")
        if any(earlier.exclude_reason is None for earlier in found) and facts is not None:
            one = leave_out(one, "selected", "an earlier image of the visit is used")
        found.append(one)
    if not found:
        absent = scan(folder, "nifti", 0)
        return [leave_out(absent, "selected", f"no image of the kind '{options.image}'")]
    return found


def _read_texts(
    files: Iterable[Path], visits: Iterable[str]
) -> dict[str, tuple[Path, dict[str, str | None]]]:
    """The text file of each visit that has one (`OAS1_0001_MR1.txt`): where, and what it says."""
    wanted = {f"{visit}.txt": visit for visit in visits}
    texts = {}
    for path in files:
        if path.name in wanted:
            lines = path.read_text(encoding="latin-1").splitlines()
            matches = (_TEXT_LINE.fullmatch(line) for line in lines)
            said = {match[1].lower(): match[2] or None for match in matches if match}
            texts[wanted[path.name]] = (path, said)
    return texts


def _at_visit(path: Path, row: Row) -> dict[str, Any]:
    """Columns of the manifest from a visit's row of the table at `path`."""
    age = number(row, ("age",), path)
    rating = number(row, ("cdr",), path)
    intracranial, share = number(row, ("etiv",), path), number(row, ("nwbv",), path)
    known = intracranial is not None and share is not None
    return {
        "age_years": age,
        "age_precision": None if age is None else "exact",
        "sex": sex_of(row.get("m/f")),
        "diagnosis": oasis3.diagnosis_of(rating),
        # whole brain as a share of the estimated intracranial volume, which is in cm³
        "brain_ml": round(intracranial * share, 1) if known else None,
    }


def _notes(options: LayoutOptions) -> tuple[str, ...]:
    axes = _IMAGES[options.image][1]
    notes = [
        f"Analyze images do not say left from right: their axes are taken as {axes}, the "
        "convention of the OASIS-1 discs",
        "diagnosis: CN is a Clinical Dementia Rating of 0, AD one above 0; without a rating none",
    ]
    if options.image in ("processed", "stripped"):
        notes.append("images are already warped to the atlas space T88 (affine), at 1 mm")
    return tuple(notes)
