"""`genmorph config`: see, check and write the configuration; `genmorph where`: the results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

Files = Annotated[
    list[Path] | None,
    typer.Option("--configfile", help="Configuration files, later over earlier."),
]
SCHEMA = Path("docs/config.schema.json")


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="See, check and write the configuration.", no_args_is_help=True)
    group.command("write")(write)
    group.command("parameters")(parameters)
    app.add_typer(group, name="config")
    app.command("where")(where)


def write(
    folder: Annotated[Path, typer.Argument(help="Folder to write into.")] = Path(),
) -> None:
    """Write config.yaml with every default and its meaning, and its JSON schema."""
    from genmorph.config import Config, render_yaml
    from genmorph.files import atomic_path, write_json

    with atomic_path(folder / "config.yaml") as temporary:
        temporary.write_text(render_yaml(Config()), encoding="utf-8")
    write_json(folder / SCHEMA, Config.model_json_schema())
    typer.echo(f"wrote {folder / 'config.yaml'} and {folder / SCHEMA}")


def parameters(
    command: Annotated[str, typer.Argument(help="train, sample, preprocess, evaluate, ...")],
    names: Annotated[
        list[str] | None, typer.Argument(help="What it works on: STUDY MODEL, RECIPE, ...")
    ] = None,
    configfile: Files = None,
) -> None:
    """Print the parameters of one command as JSON, ready for its --parameters.

    Examples:
      genmorph config parameters train m3ae m3ae > m3ae.json
      genmorph config parameters preprocess m3ae
      genmorph config parameters checks
    """
    from genmorph.config import load_config
    from genmorph.plan import Plan

    plan = Plan(load_config(*(configfile or [Path("config.yaml")])).model_dump())
    typer.echo(json.dumps(plan.asked_parameters(command, *(names or ())), indent=2))


def where(configfile: Files = None) -> None:
    """Print where tables, figures and notebooks are, and how to audit them."""
    from genmorph.config import load_config
    from genmorph.plan import Plan

    plan = Plan(load_config(*(configfile or [Path("config.yaml")])).model_dump())
    for title, files, others in (
        ("tables", plan.tables(), " .md .tex"),
        ("figures", plan.figures(), " .svg"),
        ("quality pages", plan.quality_pages(), " .tsv"),
        ("notebooks", plan.notebooks(), " .html"),
    ):
        typer.echo(f"{title}:")
        for file in files:
            state = "" if Path(file).is_file() else "   (not made yet)"
            typer.echo(f"  {file}{others}{state}")
    for table in plan.tables()[:1]:
        typer.echo("where a number comes from:")
        typer.echo(f"  .venv/bin/genmorph audit {table}")
