"""`genmorph flow`: a cohort's flow as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genmorph.cli.common import Out, Parameters, read_parameters


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("flow")(flow)


def flow(
    description: Annotated[Path, typer.Option("--description", help="cohort.json of the cohort.")],
    out: Out,
    parameters: Parameters,
) -> None:
    """Draw how many scans pass each stage from the raw tree to the splits, as PNG and SVG."""
    from genmorph.files import locked, read_json
    from genmorph.provenance.record import recording
    from genmorph.publish.figures import save_figure
    from genmorph.publish.flow import draw_flow

    values = read_parameters(parameters)
    about = read_json(description)
    with (
        locked(out),
        recording(
            "flow",
            out=out,
            parameters=values,
            inputs=[description],
            outputs=[out.with_suffix(".svg")],
        ),
    ):
        picture = draw_flow(
            about["scans"]["passed"],
            about["scans"]["left_out"],
            title=f"Cohort {values['cohort']} ({about['layout']})",
            people=about["people"],
            footer=about["data_label"],
        )
        save_figure(picture, out.with_suffix(""))
