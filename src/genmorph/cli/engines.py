"""`genmorph engines`: what can carry out preprocessing on this machine."""

from __future__ import annotations

import typer


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("engines")(engines)


def engines() -> None:
    """List the engines found here: versions, steps they carry out, what is missing.

    `builtin` comes with the Python packages. The others are programs that you install; choose one
    with preprocessing.engine, or for single steps with preprocessing.step_engines, in config.yaml.
    """
    from genmorph.preprocessing.engines import ENGINES
    from genmorph.preprocessing.engines.probe import WHERE, probe

    for name in ENGINES:
        found = probe(name)
        versions = ", ".join(f"{tool} {version}" for tool, version in found.versions.items())
        typer.echo(f"{name}: {versions or 'not found'}")
        if found.gives:
            typer.echo(f"  carries out {', '.join(found.gives)}")
        for step, programs in found.missing.items():
            typer.echo(f"  {step} lacks {', '.join(programs)}")
        if found.missing:
            typer.echo(f"  to get it: {WHERE[name]}")
