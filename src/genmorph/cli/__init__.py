"""The command line: one file for each command or family of commands; each parses, calls, records.

Heavy libraries are imported inside the commands, so that `genmorph --help` answers at once.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys

import typer

from genmorph import __version__
from genmorph.errors import GenmorphError

# in the order a study runs through them
GROUPS = (
    "config",
    "simulate",
    "cohorts",
    "ingest",
    "flow",
    "engines",
    "preprocess",
    "resample",
    "index",
    "quality",
    "train",
    "sample",
    "reconstruct",
    "segment",
    "segmenter",
    "evaluate",
    "compare",
    "controls",
    "table",
    "figure",
    "checks",
    "notebook",
    "audit",
    "crate",
    "export",
)


# errors that are no fault of the program
OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)
DISK_CURE = "make room or get leave to write there, then run the same line again"


def build() -> typer.Typer:
    """The application with every command."""
    app = typer.Typer(
        name="genmorph",
        help="Reproduce studies of generative models of 3D MRI, and audit every number.\n\n"
        "The whole study: make study, or snakemake --profile profiles/local all. "
        "Each command below is one step of it and works on explicit paths.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )

    @app.callback(invoke_without_command=True)
    def version(show: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
        if show:
            typer.echo(f"genmorph {__version__}")
            raise typer.Exit

    for group in GROUPS:
        importlib.import_module(f"genmorph.cli.{group}").add_to(app)
    return app


def main() -> None:
    """Run the command line; an error a user can act on is printed without a traceback."""
    watched = os.environ.get("GENMORPH_DIE_WITH")
    if watched:
        from genmorph.processes import die_with

        die_with(int(watched))
    try:
        build()()
    except GenmorphError as error:
        print(f"genmorph: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in OF_THE_DISK:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"genmorph: {where}{error.strerror}\n  cure: {DISK_CURE}", file=sys.stderr)
        sys.exit(2)
