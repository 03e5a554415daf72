"""A Workflow Run RO-Crate of a results root, in the Provenance Run Crate profile 0.5.

Made from the records alone: each command is a `CreateAction` of a tool, steered by a
`ControlAction` of the workflow's step, all of them organised by Snakemake's `OrganizeAction`
(https://w3id.org/ro/wfrun/provenance/0.5). Tables, figures, notebooks and what they were made from
are carried; stores, checkpoints and scans are described by their hashes.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genmorph import __version__
from genmorph.errors import AuditError
from genmorph.files import atomic_path, digest, sha256_bytes
from genmorph.provenance.audit.records import read_records
from genmorph.provenance.privacy import Privacy
from genmorph.provenance.record import (
    LOCK_FILE,
    RECORDS,
    RESOLVED_CONFIG,
    project_folder,
)

if TYPE_CHECKING:
    from rocrate.model.entity import Entity

PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/ro/wfrun/provenance/0.5": "Provenance Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
TERMS = {"sha256": "http://schema.org/sha256"}  # younger than the context of RO-Crate 1.1
WORKFLOW = "Snakefile"
LICENSE = "https://spdx.org/licenses/Apache-2.0"
COMPLETED = {"@id": "http://schema.org/CompletedActionStatus"}
FIRST_DAY = (1980, 1, 1, 0, 0, 0)  # of every file in the archive: same results, same bytes


def write_crate(root: Path, out: Path, *, include_personal: bool = False) -> dict[str, int]:
    """Write the crate of a results root.

    Parameters
    ----------
    root : Path
        Results root with records.
    out : Path
        `crate.zip`.
    include_personal : bool
        Also carry manifests, tables of participants and records, and call scans of real cohorts
        by their paths.

    Returns
    -------
    dict of str to int
        How many `actions` are described and `files` carried.

    Raises
    ------
    AuditError
        When there are no records or one is damaged or was edited, when a file is not the one that
        its record describes, or when the description would name a person of a real cohort.
    """
    records, damaged, edited = read_records(root)
    wrong = [f"{finding.subject}: {finding.message}" for finding in damaged]
    wrong += [f"{RECORDS}/{name}: {why}" for name, why in edited.items()]
    if wrong:
        others = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise AuditError(f"{wrong[0]}{others}", "see what `genmorph audit` says of it")
    config = root / RESOLVED_CONFIG
    if not config.is_file():
        raise AuditError(f"{config}: no such file", "a crate is of a results root of the workflow")
    cohorts = {
        record["parameters"]["cohort"]
        for record in records.values()
        if record["command"] == "ingest"
    }
    privacy = Privacy(root, cohorts, include_personal=include_personal)
    crate = _Description(root, records, privacy)
    crate.describe()
    content = crate.crate.metadata.generate()
    privacy.require_silence(content)
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    with atomic_path(out) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        _pack(archive, "ro-crate-metadata.json", text.encode())
        for name in sorted(crate.carried):
            _pack(archive, name, crate.carried[name])
    return {"actions": len(records), "files": len(crate.carried)}


def _pack(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, FIRST_DAY)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, content)


class _Description:
    """The graph of a crate as it grows, and the bytes of the files it carries."""

    def __init__(
        self, root: Path, records: Mapping[str, Mapping[str, Any]], privacy: Privacy
    ) -> None:
        from rocrate.rocrate import ROCrate

        self.root = root
        # in the order they ran
        self.records = dict(sorted(records.items(), key=lambda item: (item[1]["started"], item[0])))
        self.privacy = privacy
        self.crate = ROCrate(version="1.1")
        self.crate.metadata.extra_contexts.append("https://w3id.org/ro/terms/workflow-run/context")
        self.crate.metadata.extra_terms.update(TERMS)
        self.carried: dict[str, bytes] = {}
        self.software = f"genmorph {__version__}"

    def describe(self) -> None:
        """Add everything."""
        started = min(record["started"] for record in self.records.values())
        ended = max(record["ended"] for record in self.records.values())
        self._describe_root(ended)
        workflow = self._workflow()
        actions, controls = [], []
        steps = {command: self._step(workflow, command) for command in self._commands()}
        for name, record in self.records.items():
            action = self._action(name, record)
            actions.append(action)
            controls.append(
                self._add(
                    f"#control-{name}",
                    "ControlAction",
                    name=f"control of {record['command']}",
                    instrument=steps[record["command"]],
                    object=action,
                    actionStatus=COMPLETED,
                )
            )
        run = self._run(workflow, started, ended)
        engine = self._add(
            "#snakemake-engine",
            "SoftwareApplication",
            name=f"Snakemake {metadata.version('snakemake')}",
            softwareVersion=metadata.version("snakemake"),
            url={"@id": "https://snakemake.github.io"},
        )
        organised = self._add(
            "#organisation",
            "OrganizeAction",
            name="Snakemake ran the study",
            instrument=engine,
            object=controls,
            result=run,
            startTime=started,
            endTime=ended,
            actionStatus=COMPLETED,
        )
        self.crate.root_dataset["mentions"] = [run, *actions, organised]

    # -- the crate itself and the workflow -----------------------------------------------------

    def _describe_root(self, published: str) -> None:
        root = self.crate.root_dataset
        for profile, name in PROFILES.items():
            self._add(profile, "CreativeWork", name=name, version=profile.rsplit("/", 1)[-1])
        root["conformsTo"] = [{"@id": profile} for profile in PROFILES]
        root["name"] = "Results of GenMorph"
        root["description"] = (
            "Tables and figures of a study of generative models of 3D MRI, and how each was made"
        )
        root["datePublished"] = published
        self._add(LICENSE, "CreativeWork", name="Apache License 2.0", identifier="Apache-2.0")
        root["license"] = {"@id": LICENSE}
        if self.privacy.real:
            root["conditionsOfAccess"] = (
                "what was made from scans of real people is under the terms of their cohorts too: "
                + ", ".join(sorted(self.privacy.real))
            )

    def _workflow(self) -> Entity:
        """The Snakefile as main entity, its rules and settings beside it."""
        project = project_folder()
        if not (project / WORKFLOW).is_file():
            raise AuditError(
                f"{project / WORKFLOW}: no such file", "write the crate from the study's checkout"
            )
        language = self._add(
            "https://w3id.org/workflowhub/workflow-ro-crate#snakemake",
            "ComputerLanguage",
            name="Snakemake",
            alternateName="Snakemake",
            identifier={"@id": "https://snakemake.github.io"},
            url={"@id": "https://snakemake.github.io"},
            version=metadata.version("snakemake"),
        )
        workflow = self._carry(
            WORKFLOW,
            (project / WORKFLOW).read_bytes(),
            ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"],
            name="GenMorph",
            programmingLanguage=language,
            license={"@id": LICENSE},
            version=__version__,
        )
        self.crate.mainEntity = workflow
        parts = [*sorted(project.glob("rules/*.smk")), project / "config.yaml"]
        parts += [project / LOCK_FILE]
        for path in parts:
            if path.is_file():
                name = path.relative_to(project).as_posix()
                self._carry(name, path.read_bytes(), ["File", "SoftwareSourceCode"], name=path.name)
        workflow["hasPart"] = [self._tool(command) for command in self._commands()]
        workflow["input"] = [
            self._formal("configuration", "File"),
            self._formal("raw scans", "Collection"),
        ]
        workflow["output"] = [self._formal("results", "File")]
        return workflow

    def _formal(self, name: str, kind: str) -> Entity:
        return self._add(
            f"#parameter-{name.replace(' ', '-')}",
            "FormalParameter",
            name=name,
            additionalType=kind,
            conformsTo={"@id": "https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE"},
        )

    def _commands(self) -> list[str]:
        """Commands in the order they first ran."""
        return list(dict.fromkeys(record["command"] for record in self.records.values()))

    def _step(self, workflow: Entity, command: str) -> Entity:
        position = self._commands().index(command) + 1
        step = self._add(
            f"{WORKFLOW}#{command}",
            "HowToStep",
            name=command,
            position=str(position),
            workExample=self._tool(command),
        )
        workflow.append_to("step", step)
        return step

    def _tool(self, command: str) -> Entity:
        words = " ".join(command.split("."))
        return self._add(
            f"#genmorph-{command}",
            "SoftwareApplication",
            name=f"genmorph {words}",
            softwareVersion=__version__,
            softwareRequirements=self._packages(),
        )

    def _packages(self) -> list[Entity]:
        """What decides the numbers, in every version that a record names."""
        versions = {
            (package, version)
            for record in self.records.values()
            for package, version in [
                *record["environment"]["packages"].items(),
                ("python", record["environment"].get("python", "unknown")),
            ]
        }
        return [
            self._add(
                f"#{package}-{version}",
                "SoftwareApplication",
                name=package,
                softwareVersion=version,
            )
            for package, version in sorted(versions)
        ]

    # -- what ran --------------------------------------------------------------------------------

    def _run(self, workflow: Entity, started: str, ended: str) -> Entity:
        config = self._carry(
            RESOLVED_CONFIG,
            (self.root / RESOLVED_CONFIG).read_bytes(),
            name="configuration in full",
            exampleOfWork={"@id": "#parameter-configuration"},
        )
        scans = self._add(
            "#raw-scans",
            "Collection",
            name="raw scans of all cohorts",
            exampleOfWork={"@id": "#parameter-raw-scans"},
            hasPart=[
                self._input(entry)
                for entry in self._all_inputs()
                if entry["base"].startswith("cohort:")
            ],
        )
        shown = [
            self.crate.dereference(name)
            for name in sorted(self.carried)
            if name.split("/")[0] in ("tables", "figures", "notebooks")
        ]
        for entity in shown:
            entity["exampleOfWork"] = {"@id": "#parameter-results"}
        return self._add(
            "#run",
            "CreateAction",
            name="the study",
            instrument=workflow,
            object=[config, scans],
            result=shown,
            startTime=started,
            endTime=ended,
            actionStatus=COMPLETED,
        )

    def _all_inputs(self) -> list[Mapping[str, Any]]:
        entries = {
            (entry["base"], entry["path"]): entry
            for record in self.records.values()
            for entry in record["inputs"]
        }
        return [entries[key] for key in sorted(entries)]

    def _action(self, name: str, record: Mapping[str, Any]) -> Entity:
        values = dict(_flat(record["parameters"]))
        values |= {f"seed of {key}": seed for key, seed in record["seeds"].items()}
        values |= {
            "code sha256": record["code"].get("sha256"),
            "commit": record["git"].get("commit", "none"),
            "uncommitted changes": bool(record["git"].get("dirty")),
        }
        inputs = [self._input(entry) for entry in record["inputs"]]
        results = [self._output(entry) for entry in record["outputs"]]
        if self.privacy.include_personal:
            path = self.root / RECORDS / name
            results.append(
                self._carry(f"{RECORDS}/{name}", path.read_bytes(), name=f"record of {name}")
            )
        return self._add(
            f"#action-{name}",
            "CreateAction",
            name=f"{record['command']}: {record['outputs'][0]['path']}",
            instrument=self._tool(record["command"]),
            object=[*inputs, *(self._value(*item) for item in sorted(values.items()))],
            result=results,
            startTime=record["started"],
            endTime=record["ended"],
            actionStatus=COMPLETED,
        )

    def _value(self, name: str, value: Any) -> Entity:
        """A parameter; equal ones of several commands are one entity."""
        return self._add(
            f"#value-{digest([name, value])[:16]}",
            "PropertyValue",
            name=name,
            value=value if isinstance(value, str) else json.dumps(value),
        )

    # -- files -----------------------------------------------------------------------------------

    def _input(self, entry: Mapping[str, Any]) -> Entity:
        base, _, cohort = entry["base"].partition(":")
        if not base:
            return self._output(entry)
        path = entry["path"]
        if cohort:
            name = self.privacy.scan_name(cohort, f"{base}/{path}").removeprefix(f"{base}/")
            name = f"{base} {cohort}: {name}"
        else:
            name = "a file of the user's own" if self.privacy.told(path) else path
        return self._described(name, entry)

    def _output(self, entry: Mapping[str, Any]) -> Entity:
        path = entry["path"]
        file = self.root / path
        folder = entry.get("files") is not None
        if not folder and file.is_file() and self.privacy.may_carry(path):
            content = file.read_bytes()
            if sha256_bytes(content) == entry["sha256"]:
                return self._carry(path, content, name=Path(path).name)
            if self._newest(path)["sha256"] == entry["sha256"]:
                raise AuditError(
                    f"{file}: not the bytes that its record describes",
                    "run `genmorph audit`, which names every such file",
                )
        return self._described("a file" if self.privacy.told(path) else path, entry)

    def _newest(self, path: str) -> Mapping[str, Any]:
        """What the record that wrote a file last says of it."""
        written = [
            (record["ended"], entry)
            for record in self.records.values()
            for entry in record["outputs"]
            if entry["path"] == path
        ]
        return max(written, key=lambda item: item[0])[1] if written else {"sha256": ""}

    def _described(self, name: str, entry: Mapping[str, Any]) -> Entity:
        """A file that the crate does not carry."""
        return self._add(
            f"#file-{digest([name, entry['sha256']])[:16]}",
            "CreativeWork",
            name=name,
            sha256=entry["sha256"],
            contentSize=str(entry["size"]),
            description="described by its hash; not carried",
        )

    def _carry(
        self, path: str, content: bytes, kind: str | list[str] = "File", /, **properties: Any
    ) -> Entity:
        known = self.crate.dereference(path)
        if known is not None:
            return known
        self.carried[path] = content
        entity = self.crate.add_file(dest_path=path, properties={"@type": kind})
        _fill(entity, properties)
        entity["sha256"] = sha256_bytes(content)
        entity["contentSize"] = str(len(content))
        return entity

    def _add(self, place: str, kind: str, /, **properties: Any) -> Entity:
        """A contextual entity; the first of its id stays."""
        from rocrate.model.contextentity import ContextEntity

        identifier = _identifier(place)
        known = self.crate.dereference(identifier)
        if known is not None:
            return known
        entity = self.crate.add(ContextEntity(self.crate, identifier, {"@type": kind}))
        _fill(entity, properties)
        return entity


def _identifier(text: str) -> str:
    """An id without letters that a URI does not have."""
    from urllib.parse import quote

    return quote(text, safe="#:/.+-_~")


def _fill(entity: Entity, properties: Mapping[str, Any]) -> None:
    for key, value in properties.items():
        if value not in (None, []):
            entity[key] = value


def _flat(values: Mapping[str, Any], above: str = "") -> Iterable[tuple[str, Any]]:
    """Nested parameters by their dotted names."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value
