"""`genmorph cohorts`: look at a raw tree before anything is made of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genmorph.cli.common import Root, Tables, Withdrawn

if TYPE_CHECKING:
    from genmorph.cohorts.manifest import Scan

MOST_TOLD = 20  # different values, each with its count on one line

group = typer.Typer(help="Raw cohorts: what is there, and what would be used.")


def add_to(app: typer.Typer) -> None:
    """Add the group of commands."""
    app.add_typer(group, name="cohorts")


@group.command("check")
def check(
    layout: Annotated[
        str, typer.Option("--layout", help="How files lie: adni, bids, hcp, oasis or ukb.")
    ],
    root: Root,
    tables: Tables = None,
    withdrawn: Withdrawn = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", help="KEY=VALUE of the layout, as `options` in config.yaml."),
    ] = None,
    figure: Annotated[
        Path | None, typer.Option("--figure", help="Draw the flow too, as .png and .svg.")
    ] = None,
) -> None:
    """Read a raw tree as ingest would, and say what is found, matched, selected and kept.

    A short table follows: age and sex of the people at the first scan kept, diagnoses and sessions
    of the scans.

    Nothing is written but the figure. A root without a single scan is an error that lists the
    patterns tried and files that are there instead.

    Example: genmorph cohorts check --layout ukb --root /data/ukb/t1 --tables /data/ukb/tables
    """
    import yaml

    from genmorph.cohorts.flow import Flow
    from genmorph.cohorts.ingest import LAYOUTS, read_layout
    from genmorph.cohorts.reading import Source, describe_simulation
    from genmorph.errors import ConfigError, did_you_mean

    if layout not in LAYOUTS:
        raise ConfigError(f"--layout: no layout '{layout}'; {did_you_mean(layout, LAYOUTS)}")
    options = {}
    for entry in option or ():
        key, equals, value = entry.partition("=")
        if not equals:
            raise ConfigError(f"--option {entry}: KEY=VALUE is expected")
        options[key] = yaml.safe_load(value)
    reading = read_layout(layout, Source(root, tables, withdrawn), options)
    counted = Flow.of(reading.scans)
    typer.echo(f"{reading.name or root}, layout {layout}")
    if label := describe_simulation(root)["data_label"]:
        typer.echo(label)
    for line in (*counted.lines(), *_people(reading.scans)):
        typer.echo(line)
    if reading.rows_without_scan:
        typer.echo(f"{len(reading.rows_without_scan)} people of the tables have no scan here")
    for note in reading.notes:
        typer.echo(f"note: {note}")
    if figure is not None:
        from genmorph.publish.figures import save_figure
        from genmorph.publish.flow import draw_flow

        title = f"{reading.name} ({layout})"
        picture = draw_flow(counted.passed, counted.left_out, title=title)
        save_figure(picture, figure.with_suffix(""))
        typer.echo(f"drawn: {figure.with_suffix('.png')}, {figure.with_suffix('.svg')}")


def _people(scans: list[Scan]) -> list[str]:
    """A short table of the people whose scans are kept, as at the first of these, and the scans."""
    from statistics import mean, stdev

    from genmorph.cohorts.ingest import numbered

    kept = [scan for scan in numbered(scans) if scan.exclude_reason is None]
    people = [scan for scan in kept if scan.visit == 1]
    lines = [f"{len(people)} people, {len(kept)} scans"]
    ages = [scan.age_years for scan in people if scan.age_years is not None]
    if ages:
        spread = f" ± {stdev(ages):.1f}" if len(ages) > 1 else ""
        lines.append(f"  age {mean(ages):.1f}{spread} years, {min(ages):g} to {max(ages):g}")
    lines.append(f"  sex: {_counted(scan.sex for scan in people)}")
    lines.append(f"  scans by diagnosis: {_counted(scan.diagnosis for scan in kept)}")
    lines.append(f"  scans by session: {_counted(scan.session for scan in kept)}")
    return lines


def _counted(values: Iterable[str | None]) -> str:
    """How often each value is there; of very many values, how many there are."""
    from collections import Counter

    from genmorph.cohorts.ingest import natural

    counts = Counter(value or "n/a" for value in values)
    if len(counts) > MOST_TOLD:
        return f"{len(counts)} values"
    return ", ".join(f"{name} {counts[name]}" for name in sorted(counts, key=natural))
