"""`genmorph audit`: where a number comes from, and whether every link still holds."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from genmorph.provenance.audit import Audit, Report


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("audit")(audit)


def audit(
    target: Annotated[
        Path | None,
        typer.Argument(help="A file of a results root, or a results root; default: results."),
    ] = None,
    results: Annotated[
        Path | None, typer.Option("--results", help="Results root; default: the target's.")
    ] = None,
    cell: Annotated[
        str | None, typer.Option("--cell", help="ROW,COLUMN of a table: print its chain.")
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Sizes of scans and arrays only.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 where 3 would be.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Walk from a result back to the raw scans and check every link.

    Exit status: 0 trusted; 1 a link is broken, named; 2 the audit could not start; 3 sound but not
    publishable (uncommitted code, no git, another environment, orphans, identifiers, no
    withdrawal list where the source has one), each named.
    Orphans are looked for when the whole root is audited.

    Examples:
      genmorph audit results/tables/m3ae_table1.csv
      genmorph audit results/tables/m3ae_table1.csv --cell "M3AE,L2"
    """
    from genmorph.errors import AuditError
    from genmorph.provenance.audit import CHECKS
    from genmorph.provenance.record import RESOLVED_CONFIG, results_root

    if target is not None and results is None and (target / RESOLVED_CONFIG).is_file():
        results, target = target, None  # a results root: all of it
    root = results or (results_root(target) if target else Path("results"))
    relative = None
    if target is not None:
        try:
            relative = target.absolute().relative_to(root.absolute()).as_posix()
        except ValueError:
            raise AuditError(
                f"{target}: not below {root}", "name its root with --results"
            ) from None
    auditor = open_audit(root, fast=fast)
    if cell is not None:
        if relative is None or "," not in cell:
            raise AuditError("--cell needs a table and ROW,COLUMN")
        row, column = (word.strip() for word in cell.split(",", 1))
        typer.echo(json.dumps(auditor.trace(relative, row, column), indent=2, ensure_ascii=False))
        return
    report = auditor.run(relative)
    code = report.exit_code(strict=strict)
    if as_json:
        typer.echo(json.dumps(report.to_json() | {"exit_code": code}, indent=2, ensure_ascii=False))
        raise typer.Exit(code)
    counts = Counter((finding.code, finding.status) for finding in report.findings)
    typer.echo(f"audit of {report.target}: {len(report.records)} records")
    for check, meaning in CHECKS.items():
        passed, failed, unknown = (counts[check, word] for word in ("pass", "fail", "unknown"))
        tally = f"{passed} pass, {failed} fail, {unknown} unknown"
        typer.echo(f"  {check:<12} {tally:<34} {meaning}")
    for line in broken_links(report):
        typer.echo(line)
    for command, outputs in report.affected.items() if code == 1 else ():
        typer.echo(f"affected {command}: {', '.join(outputs)}")
    verdict = {0: "trusted", 1: "broken", 3: "sound, but not publishable as it stands"}[code]
    typer.echo(f"verdict: {verdict}")
    raise typer.Exit(code)


def open_audit(root: Path, *, fast: bool = False) -> Audit:
    """The audit of a results root whose cohorts lie where its resolved configuration has them."""
    from genmorph.preprocessing.raw import RawFile, read_raw, size_of_raw
    from genmorph.provenance.audit import Audit

    return Audit(
        root,
        cohort_roots(root),
        fast=fast,
        withdrawn=cohort_roots(root, "withdrawn"),
        tables=cohort_roots(root, "tables"),
        labels=cohort_roots(root, "labels"),
        hash_raw=lambda folder, path, kind: read_raw(RawFile(folder, path, kind)).sha256,
        size_raw=lambda folder, path, kind: size_of_raw(RawFile(folder, path, kind)),
    )


def broken_links(report: Report) -> list[str]:
    """A line for each finding that did not pass; what many records share is said once.

    Orphans and identifiers are each named: each is something to remove.
    """
    publication = report.failures(publication=True)
    each = [finding for finding in publication if finding.code in ("orphans", "identifiers")]
    lines = [
        f"{finding.status.upper()} {finding.code}: {finding.subject}: {finding.message}"
        for finding in report.failures(publication=False) + each
    ]
    shared: dict[tuple[str, str, str], list[str]] = {}
    for finding in publication:
        if finding in each:
            continue
        key = (finding.status, finding.code, finding.message)
        shared.setdefault(key, []).append(finding.subject)
    for (status, code, message), subjects in shared.items():
        others = f" and {len(subjects) - 1} more records" if len(subjects) > 1 else ""
        lines.append(f"{status.upper()} {code}: {subjects[0]}{others}: {message}")
    return lines


def cohort_roots(root: Path, key: str = "root") -> dict[str, Path]:
    """Folder of each cohort's raw scans, or another of its places, from the resolved
    configuration."""
    from genmorph.cohorts.reading import TRUTH
    from genmorph.config import expand_variables
    from genmorph.errors import ConfigError
    from genmorph.provenance.record import RESOLVED_CONFIG
    from genmorph.provenance.resolved import read_resolved

    if not (root / RESOLVED_CONFIG).is_file():
        return {}
    places: dict[str, Path] = {}
    try:
        entries = read_resolved(root)["config"]["cohorts"]
    except ConfigError as error:
        # the audit names the damage; where the scans lie is then not known
        typer.echo(f"note: {error.message}; raw scans are not checked", err=True)
        return {}
    for name, entry in entries.items():
        place = entry.get(key)
        if place is None:
            made = root / "raw" / name  # by the study itself, with label maps of its own
            places |= {"root": {name: made}, "labels": {name: made / TRUTH}}.get(key, {})
            continue
        if isinstance(place, dict):
            place = place.get("path")
        try:
            places[name] = Path(expand_variables(str(place), f"cohorts.{name}.{key}"))
        except ConfigError as error:
            typer.echo(f"note: {error.message}; its raw scans are not checked", err=True)
    return places
