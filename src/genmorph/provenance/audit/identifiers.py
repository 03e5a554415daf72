"""Check `identifiers`: nothing that is shared names a machine, a user or a real person."""

from __future__ import annotations

import contextlib
import getpass
import json
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from genmorph.config import read_yaml
from genmorph.errors import GenmorphError
from genmorph.files import read_json, read_tsv
from genmorph.provenance.audit.findings import Finding
from genmorph.provenance.record import (
    ABSOLUTE_PATH,
    RECORDS,
    RESOLVED_CONFIG,
    project_folder,
)

# folders whose files are shown to others, and the suffixes that hold text
SHARED = ("tables", "figures", "notebooks")
TEXT_SUFFIXES = (".csv", ".md", ".tex", ".tsv", ".svg", ".html", ".ipynb", ".json", ".txt")
# shorter names of machines and labels of people are words and numbers of every day
SHORTEST_HOST, SHORTEST_LABEL, SHORTEST_NUMBER = 4, 5, 6
HOME_FOLDERS = r"(?<![\w}-])(?:/home/|/Users/|[A-Za-z]:\\+Users\\+)[\w.-]+|(?<![\w}-])/root/"
# pictures inside text, and the strokes of a drawing
BINARY = r'[A-Za-z0-9+/=]{60,}|\sd="[^"]*"'


def folder_patterns(folders: Iterable[Path]) -> dict[str, re.Pattern[str]]:
    """Folders that give a machine or its user away, by what to call them.

    Parameters
    ----------
    folders : iterable of Path
        Folders of this machine whose names must not be told: results root, raw scans, ...
    """
    patterns = {"a home folder": re.compile(HOME_FOLDERS)}
    known = {str(folder.absolute()) for folder in (*folders, project_folder(), Path.cwd())}
    with contextlib.suppress(RuntimeError):
        known.add(str(Path.home()))
    # a folder right below / , such as /data, is a word of every day
    telling = sorted((name for name in known if name.count("/") > 1), key=len, reverse=True)
    if telling:
        either = "|".join(re.escape(name) for name in telling)
        patterns["a folder of this machine"] = re.compile(rf"(?<![\w/])(?:{either})(?![\w-])")
    return patterns


def name_patterns() -> dict[str, re.Pattern[str]]:
    """Names of this machine and its user, by what to call them."""
    patterns = {}
    host = socket.gethostname()
    names = {host, host.split(".")[0]} - {"localhost"}
    names = sorted(re.escape(name) for name in names if len(name) >= SHORTEST_HOST)
    if names:
        word = rf"(?<![\w.-])(?:{'|'.join(names)})(?![\w-])"
        patterns["the name of this machine"] = re.compile(word, re.IGNORECASE)
    with contextlib.suppress(OSError, KeyError):
        user = re.escape(getpass.getuser())
        # the name alone may be a word: only where it can be nothing but a user
        patterns["the user's name"] = re.compile(rf"(?<![\w.-]){user}@\w|~{user}/")
    return patterns


def check_identifiers(
    root: Path,
    records: Mapping[str, Mapping[str, Any]],
    cohort_roots: Mapping[str, Path],
    *,
    everything: bool,
) -> Iterator[Finding]:
    """Search what would be shared for names.

    Parameters
    ----------
    root : Path
        Results root.
    records : mapping
        Records of the chain by name.
    cohort_roots : mapping
        Folder of each cohort's raw scans.
    everything : bool
        Search every file of the shared folders, not only those that the records wrote.
    """
    folders, names = folder_patterns([root, *cohort_roots.values()]), name_patterns()
    people: set[str] = set()
    hidden: set[str] = set()
    for folder in _cohort_folders(root, records, everything=everything):
        try:
            people |= real_people(folder)
            hidden |= hidden_people(folder)
        except GenmorphError as error:
            subject = folder.relative_to(root).as_posix()
            yield Finding("identifiers", "unknown", subject, error.message)
    for name, record in records.items():
        text = json.dumps(record, ensure_ascii=False)
        told = _absolute_paths(record) | _told(text, folders | names)
        told |= _people_told(names_in("\n".join(_strings(record)), hidden))
        yield _finding(f"{RECORDS}/{name}", told)
    config = root / RESOLVED_CONFIG
    if config.is_file():
        text = config.read_text(encoding="utf-8")
        told = _absolute_paths(read_yaml(config)) | _told(text, folders | names)
        cure = "; name such folders by variables, ${NAME}, in the configuration"
        yield _finding(RESOLVED_CONFIG, told, cure)
    for path in _shared_files(root, records, everything=everything):
        try:
            text = (root / path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            yield Finding("identifiers", "unknown", path, f"cannot be read: {error}")
            continue
        words = re.sub(BINARY, " ", text)
        told = _people_told(names_in(words, people))
        yield _finding(path, told | _told(text, folders) | _told(words, names))


def real_people(folder: Path) -> set[str]:
    """Ids of a cohort's people, as the source spells them too; none of a simulated cohort.

    A BIDS label counts without its `sub-` too, where it is long enough to be nobody else's.
    """
    if read_json(folder / "cohort.json").get("simulated") is True:
        return set()
    rows = read_tsv(folder / "participants.tsv", ("participant_id",))
    ids = {row["participant_id"] for row in rows if row["participant_id"]}
    manifest = folder / "manifest.tsv"
    for row in read_tsv(manifest, ("participant_id", "source_id")) if manifest.is_file() else ():
        if row["source_id"] is not None:
            ids.add(row["source_id"])
            label = row["source_id"].replace("_", "")  # as BIDS labels spell it
            if label not in row["participant_id"]:  # a pseudonym tells nobody
                ids.discard(row["participant_id"])
    labels = {name.removeprefix("sub-") for name in ids}
    return {name for name in ids | labels if _telling(name)}


def hidden_people(folder: Path) -> set[str]:
    """Ids that nobody may see, not even in a record: those behind a real cohort's pseudonyms."""
    description = read_json(folder / "cohort.json")
    if description.get("simulated") is True or not description.get("pseudonyms"):
        return set()
    rows = read_tsv(folder / "manifest.tsv", ("source_id",))
    return {name for row in rows if (name := row["source_id"]) and _telling(name)}


def names_in(text: str, people: set[str]) -> set[str]:
    """Ids that stand in a text as whole words, alone or at the joints of a longer name.

    The digits of a decimal number are no id.
    """
    if not people:
        return set()
    longest = max(len(re.split("[_-]", name)) for name in people)
    found = set()
    for word in re.finditer(r"[A-Za-z0-9](?:[\w-]*[A-Za-z0-9])?", text):
        before, after = text[max(word.start() - 1, 0) : word.start()], text[word.end() :][:2]
        if word[0].isdigit() and (before == "." or re.fullmatch(r"\.\d", after)):
            continue
        parts = re.split("([_-])", word[0])
        for start in range(0, len(parts), 2):
            for end in range(start + 1, min(start + 2 * longest, len(parts) + 1), 2):
                if (name := "".join(parts[start:end])) in people:
                    found.add(name)
    return found


def _telling(name: str) -> bool:
    return len(name) >= (SHORTEST_NUMBER if name.isdigit() else SHORTEST_LABEL)


def _told(text: str, patterns: Mapping[str, re.Pattern[str]]) -> set[str]:
    return {
        f"{what}: {hit[0]}" for what, pattern in patterns.items() if (hit := pattern.search(text))
    }


def _people_told(names: set[str]) -> set[str]:
    return {f"people of a real cohort: {', '.join(sorted(names)[:3])}"} if names else set()


def _strings(value: Any) -> Iterator[str]:
    """The strings of a JSON value; numbers, such as sizes, are nobody's ids."""
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from (str(key), *_strings(entry))
    elif isinstance(value, list):
        for entry in value:
            yield from _strings(entry)
    elif isinstance(value, str):
        yield value


def _absolute_paths(value: Any) -> set[str]:
    """Absolute paths in the strings of a JSON value."""
    if isinstance(value, Mapping):
        return set().union(*(_absolute_paths(entry) for entry in [*value, *value.values()]))
    if isinstance(value, list):
        return set().union(*(_absolute_paths(entry) for entry in value))
    if isinstance(value, str):
        return {f"an absolute path: {hit[0]}" for hit in re.finditer(ABSOLUTE_PATH, value)}
    return set()


def _cohort_folders(
    root: Path, records: Mapping[str, Mapping[str, Any]], *, everything: bool
) -> list[Path]:
    """Folders of the cohorts whose people could be named."""
    folders = {
        (root / record["outputs"][0]["path"]).parent
        for record in records.values()
        if record["command"] == "ingest"
    }
    if everything:
        folders |= {file.parent for file in (root / "cohorts").glob("*/cohort.json")}
    return sorted(folders)


def _shared_files(
    root: Path, records: Mapping[str, Mapping[str, Any]], *, everything: bool
) -> list[str]:
    if everything:
        files = (path for name in SHARED for path in (root / name).rglob("*") if path.is_file())
        paths = {path.relative_to(root).as_posix() for path in files if path.name[0] != "."}
    else:
        outputs = (entry["path"] for record in records.values() for entry in record["outputs"])
        # a file that is missing is the business of the check `outputs`
        paths = {path for path in outputs if (root / path).is_file()}
    return sorted(
        path
        for path in paths
        if path.split("/")[0] in SHARED and Path(path).suffix in TEXT_SUFFIXES
    )


def _finding(subject: str, told: set[str], cure: str = "") -> Finding:
    if not told:
        return Finding("identifiers", "pass", subject)
    return Finding("identifiers", "fail", subject, "tells " + "; ".join(sorted(told)) + cure)
