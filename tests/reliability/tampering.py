"""Single changes in the chain of a table, each made at random, each looked for by the audit.

Runs inside a checkout in which the study has run, with that checkout's own code:

    PYTHONPATH=src python tests/reliability/tampering.py --n 200 --seed 0

and prints one JSON line a change. Every change is taken back before the next is made.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

RESULTS = Path("results")
TABLE = "tables/m3ae_table1.csv"
CONFIG = "config.resolved.yaml"


@dataclass(frozen=True)
class Change:
    """One change: files with their new bytes (None: the file is gone), and what must be found.

    Attributes
    ----------
    kind : str
    files : dict
        New content of each file, by path.
    codes : tuple of str
        Checks of which one must fail.
    named : tuple of str
        Words of which the first broken link must have one.
    """

    kind: str
    files: dict[Path, bytes | None]
    codes: tuple[str, ...]
    named: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """What the audit said of a change."""

    kind: str
    files: list[str]
    found: bool
    first: str
    codes: list[str]


class Chain:
    """The files behind the table, by what they are.

    Parameters
    ----------
    rng : random.Random
        Decides everything that is left to chance.
    """

    def __init__(self, rng: random.Random) -> None:
        from genmorph.files import read_json

        self.rng = rng
        names = audit().records
        self.records = [RESULTS / "provenance" / name for name in names]
        contents = [read_json(path) for path in self.records]
        self.outputs: list[Path] = []
        raw: set[Path] = set()
        self.modules: set[str] = set()
        for content in contents:
            for entry in content["outputs"]:
                path = RESULTS / entry["path"]
                inside = [path / name for name in entry.get("files", ())]
                self.outputs += inside or [path]
            for entry in content["inputs"]:
                if entry["base"].startswith("cohort:"):
                    cohort = entry["base"].removeprefix("cohort:")
                    raw.add(RESULTS / "raw" / cohort / entry["path"])
            self.modules |= set(content["code"]["modules"])
        self.raw = sorted(raw)

    @property
    def files(self) -> list[Path]:
        """Everything a change may hit: a kind of file first, so that rare kinds are hit too."""
        pools = (self.outputs, self.raw, self.records, [RESULTS / CONFIG])
        return list(self.rng.choices(pools, weights=(6, 2, 2, 1))[0])

    def some(self, files: list[Path]) -> Path:
        """A file that is not empty."""
        return self.rng.choice([path for path in files if path.stat().st_size])

    def expected(self, path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Codes of which one must fail, and how the first broken link may be named."""
        relative = path.relative_to(RESULTS).as_posix()
        if relative == CONFIG:
            return ("parameters",), (CONFIG,)
        if relative.startswith("provenance/"):
            own = relative.removeprefix("provenance/")
            return ("records",), (relative, own.removesuffix(".json"))
        if relative.startswith("raw/"):
            return ("raw",), (relative.split("/", 2)[2],)
        return ("outputs",), (relative,)

    def change(self, kind: str, files: dict[Path, bytes | None], *more: str) -> Change:
        """A change of some files, with what is expected of it; `more` codes are right as well."""
        expected = [self.expected(path) for path in files]
        codes = tuple({code for own, _ in expected for code in own} | set(more))
        return Change(kind, files, codes, tuple(name for _, own in expected for name in own))


# -- the kinds ---------------------------------------------------------------------------------


def flip(chain: Chain) -> Change:
    """One bit of one file; the time stamp is kept, as of every change here."""
    path = chain.some(chain.files)
    content = bytearray(path.read_bytes())
    content[chain.rng.randrange(len(content))] ^= 1 << chain.rng.randrange(8)
    return chain.change("flip", {path: bytes(content)})


def truncate(chain: Chain) -> Change:
    """The end of a file is lost."""
    path = chain.some(chain.files)
    content = path.read_bytes()
    return chain.change("truncate", {path: content[: chain.rng.randrange(len(content))]})


def remove(chain: Chain) -> Change:
    """A file is gone."""
    path = chain.some(chain.outputs + chain.raw)
    return chain.change("remove", {path: None})


def swap(chain: Chain) -> Change:
    """Two files of a kind change places."""
    while True:
        one = chain.some(chain.files)
        alike = [path for path in chain.files if path.suffix == one.suffix and path != one]
        other = chain.rng.choice(alike) if alike else one
        if one.read_bytes() != other.read_bytes():
            return chain.change("swap", {one: other.read_bytes(), other: one.read_bytes()})


def edit_json(chain: Chain) -> Change:
    """A value of a measurement, a training's summary, a description."""
    path = chain.some([path for path in chain.outputs if path.suffix == ".json"])
    content = json.loads(path.read_text())
    _edit_leaf(content, chain.rng)
    text = json.dumps(content, sort_keys=True, indent=2) + "\n"
    return chain.change("edit_json", {path: text.encode()})


def edit_record(chain: Chain) -> Change:
    """A value of a record."""
    path = chain.some(chain.records)
    content = json.loads(path.read_text())
    _edit_leaf(content, chain.rng)
    text = json.dumps(content, sort_keys=True, indent=2) + "\n"
    return chain.change("edit_record", {path: text.encode()})


def edit_cell(chain: Chain) -> Change:
    """A cell of the table, or of the table of its cells."""
    tables = [RESULTS / TABLE, RESULTS / TABLE.replace(".csv", "_cells.csv")]
    path = chain.rng.choice(tables)
    with path.open(newline="") as stream:
        rows = list(csv.reader(stream))
    row = chain.rng.randrange(1, len(rows))
    column = chain.rng.choice([n for n, text in enumerate(rows[row]) if n and text])
    rows[row][column] = _edited(rows[row][column])
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return chain.change("edit_cell", {path: text.getvalue().encode()}, "cells")


def edit_config(chain: Chain) -> Change:
    """A value of the resolved configuration, its last line kept."""
    import yaml

    path = RESULTS / CONFIG
    text = path.read_text()
    content = yaml.safe_load(text)
    _edit_leaf(content, chain.rng)
    made = yaml.safe_dump(content, sort_keys=True, allow_unicode=True)
    return chain.change("edit_config", {path: (made + text.splitlines()[-1] + "\n").encode()})


def change_module(chain: Chain) -> Change:
    """A module that a command imported, or data it reads."""
    name = chain.rng.choice(sorted(chain.modules))
    module, _, data = name.partition("/")
    folder = Path("src", *module.split("."))
    path = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    path = path.parent / data if data else path
    content = path.read_bytes() + (b"\n" if data else b"\nCHANGED = 1\n")
    return Change("change_module", {path: content}, ("code",), (name,))


def other_weights(chain: Chain) -> Change:
    """The checkpoint of another run."""
    weights = [path for path in chain.outputs if path.name == "model.safetensors"]
    one, other = chain.rng.sample(weights, 2)
    return chain.change("other_weights", {one: other.read_bytes()})


def drop_record(chain: Chain) -> Change:
    """A record is gone: one of its outputs has none, or its children miss it."""
    path = chain.some(chain.records)
    outputs = [entry["path"] for entry in json.loads(path.read_text())["outputs"]]
    change = chain.change("drop_record", {path: None})
    return Change(change.kind, change.files, change.codes, (*change.named, *outputs))


def change_seed(chain: Chain) -> Change:
    """The seed that a record names."""
    seeded = [path for path in chain.records if json.loads(path.read_text())["seeds"]]
    path = chain.some(seeded)
    content = json.loads(path.read_text())
    key = chain.rng.choice(sorted(content["seeds"]))
    content["seeds"][key] += chain.rng.randrange(1, 100)
    text = json.dumps(content, sort_keys=True, indent=2) + "\n"
    return chain.change("change_seed", {path: text.encode()}, "seeds")


KINDS: tuple[Callable[[Chain], Change], ...] = (
    flip,
    truncate,
    swap,
    edit_json,
    edit_record,
    edit_cell,
    edit_config,
    change_module,
    other_weights,
    drop_record,
    change_seed,
    remove,
)


def _edit_leaf(value: Any, rng: random.Random) -> None:
    """Change one number or text somewhere in nested lists and mappings."""
    places = list(_leaves(value))
    holder, key = rng.choice(places)
    holder[key] = _edited(holder[key])


def _leaves(value: Any) -> Iterator[tuple[Any, Any]]:
    for key in value if isinstance(value, dict) else range(len(value)):
        if isinstance(value[key], dict | list):
            yield from _leaves(value[key])
        else:
            yield value, key


def _edited(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * 1.01 + 0.01
    if value is None:
        return 0
    digits = [place for place, letter in enumerate(value) if letter.isdigit()]
    if not digits:
        return value + "x"
    last = digits[-1]
    return f"{value[:last]}{(int(value[last]) + 1) % 10}{value[last + 1 :]}"


# -- making, looking, taking back ----------------------------------------------------------------


def audit() -> Any:
    """The audit's report on the table, by the code as it now stands."""
    from genmorph.cli.audit import open_audit
    from genmorph.provenance import code

    code._examine.cache_clear()  # a process audits once; here the code changes in between
    with contextlib.redirect_stderr(io.StringIO()):
        return open_audit(RESULTS).run(TABLE)


@contextlib.contextmanager
def changed(change: Change) -> Iterator[None]:
    """Make a change, time stamps kept, and take it back."""
    before = {path: (path.read_bytes(), path.stat()) for path in change.files}
    try:
        for path, content in change.files.items():
            _put(path, content, before[path][1])
        yield
    finally:
        for path, (content, stat) in before.items():
            _put(path, content, stat)


def _put(path: Path, content: bytes | None, stat: os.stat_result) -> None:
    if content is None:
        path.unlink()
        return
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def look_for(change: Change) -> Outcome:
    """Whether the audit finds a change, under the right code, and names it first."""
    with changed(change):
        failures = audit().failures(publication=False)
    first = f"{failures[0].code}: {failures[0].subject}: {failures[0].message}" if failures else ""
    codes = sorted({finding.code for finding in failures})
    right = bool(set(codes) & set(change.codes)) and any(name in first for name in change.named)
    return Outcome(change.kind, [str(path) for path in change.files], right, first, codes)


def count_tampered(project: Path, n: int, seed: int) -> list[Outcome]:
    """Make and look for `n` changes in a checkout, in a process that runs its code.

    Parameters
    ----------
    project : Path
        A checkout in which the study has run.
    n, seed : int

    Returns
    -------
    list of Outcome
    """
    done = subprocess.run(
        [sys.executable, str(Path(__file__)), "--n", str(n), "--seed", str(seed)],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(project / "src")},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    return [Outcome(**json.loads(line)) for line in done.stdout.splitlines()]


def main() -> None:
    """Print one JSON line a change."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    chain = Chain(random.Random(arguments.seed))
    for number in range(arguments.n):
        change = KINDS[number % len(KINDS)](chain)
        print(json.dumps(asdict(look_for(change))), flush=True)


if __name__ == "__main__":
    main()
