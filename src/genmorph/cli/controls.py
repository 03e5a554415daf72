"""`genmorph controls`: the measures on data whose answer is known."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated

import typer

from genmorph.cli.common import Out, Workers

Files = Annotated[list[Path], typer.Argument(help="Results of the groups (JSON).")]


def add_to(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(
        help="Hold every measure to data whose answer is known.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command("run")(run)
    group.command("table")(table)
    group.command("check")(check)
    app.add_typer(group, name="controls")


def run(
    group: Annotated[
        str, typer.Argument(help="chain, effects, overlap, memorisation or distances.")
    ],
    out: Out,
    seed: Annotated[int, typer.Option("--seed", help="Of the simulated people.")] = 0,
    workers: Workers = 1,
) -> None:
    """Run one group of controls on simulated people: minutes."""
    from genmorph.controls.groups import GROUPS, module_of_group
    from genmorph.errors import ControlError, did_you_mean
    from genmorph.processes import limit_threads

    if group not in GROUPS:
        raise ControlError(f"no group '{group}'; {did_you_mean(group, GROUPS)}")
    limit_threads(1)
    from genmorph.controls.rows import write_result
    from genmorph.files import locked
    from genmorph.provenance.record import recording

    values = {"group": group, "seed": seed}
    module = importlib.import_module(module_of_group(group))
    maps = [out.with_name(name) for name in getattr(module, "MAPS", ())]
    with (
        locked(out),
        recording(
            "controls",
            out=out,
            parameters=values,
            outputs=maps,
            seeds={"controls": seed},
            modules=[module_of_group(group)],
        ),
    ):
        result = module.run(seed, workers, out.parent)
        write_result(out, group, result, values)
    for row in result.rows:
        typer.echo(f"{row.verdict:>8}  {row.control}: {row.measured:.4g}")


def table(files: Files, out: Out, figure: Annotated[Path, typer.Option("--figure")]) -> None:
    """Write the table of all controls (CSV, Markdown, cells) and their figure."""
    from genmorph.controls.figure import draw_controls
    from genmorph.controls.rows import read_result, write_table
    from genmorph.files import locked
    from genmorph.provenance.record import recording, results_root
    from genmorph.publish.figures import save_figure

    beside = [
        out.with_name(f"{out.stem}_cells.csv"),
        out.with_suffix(".md"),
        figure,
        figure.with_suffix(".svg"),
    ]
    with (
        locked(out),
        recording("controls", out=out, parameters={}, inputs=files, outputs=beside),
    ):
        rows = write_table(files, out, results_root(out))
        curves = {
            title: curve for file in files for title, curve in read_result(file).curves.items()
        }
        save_figure(draw_controls(rows, curves), figure.with_suffix(""))
    typer.echo(f"{out}: {len(rows)} controls")


def check(table: Annotated[Path, typer.Argument(help="controls.csv")]) -> None:
    """End with an error when a control failed."""
    from genmorph.controls.rows import check_table

    typer.echo(f"{table}: {check_table(table)} controls passed")
