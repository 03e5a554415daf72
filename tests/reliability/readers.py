"""Everything that reads files of others: how to make a sound one, what gets damaged, who reads it.

A reader is used on a folder of its own: `make` fills it, `target` is the file that is damaged,
`read` reads the folder as a command would. A reader may raise nothing but `GenmorphError`.
"""

from __future__ import annotations

import importlib
import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

SIZE = 16  # the fewest voxels along an axis that a scan may have
SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}


@dataclass(frozen=True)
class Reader:
    """One way of reading.

    Attributes
    ----------
    name : str
    target : str
        File, below the folder, that is damaged.
    make : callable
        Fills a folder.
    read : callable
        Reads it.
    weight : float
        Share of the inputs that it gets: slow readers get fewer.
    """

    name: str
    target: str
    make: Callable[[Path], None]
    read: Callable[[Path], Any]
    weight: float = 4.0


# -- images ------------------------------------------------------------------------------------


def _volume() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 1000, (SIZE, SIZE + 1, SIZE + 2)).astype(np.int16)


def _nifti(kind: type = nib.Nifti1Image) -> bytes:
    return kind(_volume(), np.diag([1.0, 1.2, 0.9, 1.0])).to_bytes()


def make_nifti(folder: Path) -> None:
    (folder / "scan.nii").write_bytes(_nifti())


def make_nifti2(folder: Path) -> None:
    (folder / "scan.nii").write_bytes(_nifti(nib.Nifti2Image))


def make_gzip(folder: Path) -> None:
    import gzip

    (folder / "scan.nii.gz").write_bytes(gzip.compress(_nifti(), mtime=0))


def make_zip(folder: Path) -> None:
    with zipfile.ZipFile(folder / "scan.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("T1/T1.nii"), _nifti())


def make_analyze(folder: Path) -> None:
    header = nib.AnalyzeHeader(endianness=">")
    header.set_data_shape((*_volume().shape, 1))
    header.set_data_dtype(np.int16)
    header.set_zooms((1, 1.2, 0.9, 1))
    (folder / "scan.hdr").write_bytes(header.binaryblock)
    (folder / "scan.img").write_bytes(_volume().astype(">i2").tobytes(order="F"))


def make_dicom(folder: Path) -> None:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

    (folder / "series").mkdir()
    for place in range(SIZE):
        meta, data = FileMetaDataset(), Dataset()
        meta.MediaStorageSOPClassUID = data.SOPClassUID = MRImageStorage
        meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = f"1.2.3.4.{place + 1}"
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.3", "1.2.3.4"
        data.Modality, data.Manufacturer = "MR", "none"
        data.SeriesNumber, data.InstanceNumber = 1, place + 1
        data.PixelSpacing, data.SliceThickness = [1, 1], 1
        data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        data.ImagePositionPatient = [0, 0, place]
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.Rows = data.Columns = SIZE
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
        data.PixelRepresentation = 1
        data.PixelData = _volume()[:, :SIZE, place].astype("<i2").tobytes()
        data["PixelData"].VR = "OW"
        data.file_meta = meta
        data.save_as(folder / "series" / f"{place:03d}.dcm", enforce_file_format=True)


def read_scan(path: str, kind: str = "nifti") -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        from genmorph.preprocessing.raw import RawFile, parse_scan, read_raw

        return parse_scan(read_raw(RawFile(folder, path, kind)).content, path)

    return read


def read_map(folder: Path) -> Any:
    from genmorph.preprocessing.anatomy import read_map as read

    return read(folder / "scan.nii")


def read_label_atlas(folder: Path) -> Any:
    from genmorph.cohorts.simulate import atlas

    atlas._read.cache_clear()
    return atlas._read(folder / "scan.nii")


def make_t_map(folder: Path) -> None:
    image = nib.Nifti1Image(_volume().astype(np.float32), np.eye(4))
    image.header.set_intent("t test", (20.0,))
    (folder / "t.nii").write_bytes(image.to_bytes())


def read_t_map(folder: Path) -> Any:
    from genmorph.cli.compare import _read_t_map

    return _read_t_map(folder / "t.nii")


# -- tables and trees of the sources -------------------------------------------------------------


def _tree(folder: Path, files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        path = folder / "raw" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def make_bids(folder: Path) -> None:
    people = [f"{number:02d}" for number in range(1, 9)]
    rows = [f"sub-{name}\t{60 + int(name)}\tF\tCN" for name in people]
    files: dict[str, str | bytes] = {
        "dataset_description.json": '{"Name": "tiny", "BIDSVersion": "1.11.1"}',
        "participants.tsv": "\n".join(["participant_id\tage\tsex\tdiagnosis", *rows]) + "\n",
    }
    for name in people:
        files[f"sub-{name}/anat/sub-{name}_T1w.nii.gz"] = b"voxels"
        files[f"sub-{name}/anat/sub-{name}_T1w.json"] = '{"MagneticFieldStrength": 3}'
    _tree(folder, files)


def make_ukb(folder: Path) -> None:
    people = [f"10000{number:02d}" for number in range(8)]
    rows = [f"{eid},0,1950,{60 + n},2016-03-01,11025" for n, eid in enumerate(people)]
    header = "eid,31-0.0,34-0.0,21003-2.0,53-2.0,54-2.0"
    _tree(folder, {"ukb_tables.csv": "\n".join([header, *rows]) + "\n"})
    for eid in people:
        with zipfile.ZipFile(folder / "raw" / f"{eid}_20252_2_0.zip", "w") as archive:
            archive.writestr("T1/T1.nii.gz", "voxels")
    (folder / "withdrawn.csv").write_text(f"{people[0]}\n")


def make_hcp(folder: Path) -> None:
    people = [f"1003{number:02d}" for number in range(8)]
    rows = [f"{name},Q1,F,26-30," for name in people]
    ages = [f"{name},27,{name}_1" for name in people]
    files: dict[str, str | bytes] = {
        "unrestricted_me.csv": "\n".join(["Subject,Release,Gender,Age,QC_Issue", *rows]) + "\n",
        "restricted_me.csv": "\n".join(["Subject,Age_in_Yrs,Family_ID", *ages]) + "\n",
    }
    for name in people[1:]:
        files[f"{name}/unprocessed/3T/T1w_MPR1/{name}_3T_T1w_MPR1.nii.gz"] = b"voxels"
    _tree(folder, files)
    first = people[0]
    with zipfile.ZipFile(folder / "raw" / f"{first}_3T_Structural_unproc.zip", "w") as archive:
        archive.writestr(f"{first}/unprocessed/3T/T1w_MPR1/{first}_3T_T1w_MPR1.nii.gz", "voxels")


def make_oasis(folder: Path) -> None:
    header = "ID,M/F,Hand,Age,Educ,SES,MMSE,CDR,eTIV,nWBV,ASF,Delay"
    visits = [f"OAS1_00{number:02d}_MR1" for number in range(1, 9)]
    rows = [f"{visit},F,R,74,2,3,29,0,1344,0.743,1.306,N/A" for visit in visits]
    files: dict[str, str | bytes] = {
        "oasis_cross-sectional.csv": "\n".join([header, *rows]) + "\n",
        f"disc1/{visits[0]}/{visits[0]}.txt": "SESSION ID:   OAS1_0001_MR1\nAGE:   74\nCDR:   0\n",
    }
    for visit in visits:
        for suffix in ("hdr", "img"):
            files[f"disc1/{visit}/RAW/{visit}_mpr-1_anon.{suffix}"] = b"voxels"
    _tree(folder, files)


_SIDECAR = """<?xml version="1.0" encoding="UTF-8"?>
<idaxs xmlns="http://ida.loni.usc.edu"><project xmlns=""><subject>
<subjectIdentifier>002_S_0001</subjectIdentifier><researchGroup>CN</researchGroup>
<subjectSex>F</subjectSex><visit><visitIdentifier>ADNI Screening</visitIdentifier></visit>
<study><subjectAge>76.0</subjectAge><series><dateAcquired>2006-05-02 12:31:52.0</dateAcquired>
<imagingProtocol><protocol term="Field Strength">1.5</protocol><imageUID>1</imageUID>
</imagingProtocol></series></study></subject></project></idaxs>
"""
_SEQUENCE = "MPR__GradWarp__B1_Correction__N3__Scaled"


def make_adni(folder: Path) -> None:
    header = "Image Data ID,Subject,Group,Sex,Age,Visit,Modality,Description,Type,Acq Date,Format"
    rows, files = [], {}
    for number in range(1, 9):
        person = f"002_S_{number:04d}"
        stem = f"ADNI_{person}_MR_{_SEQUENCE}"
        below = f"ADNI/{person}/{_SEQUENCE}/2006-05-02_12_31_52.0/I{number}"
        files[f"{below}/{stem}_Br_20081015122825655_S5_I{number}.nii"] = b"voxels"
        described = f"F,76,ADNI Screening,MRI,{_SEQUENCE},Processed,5/2/2006,NiFTI"
        rows.append(f"I{number},{person},CN,{described}")
    files[f"ADNI/ADNI_002_S_0001_MR_{_SEQUENCE}_S5_I1.xml"] = _SIDECAR.encode()
    files["collection_5_01_2024.csv"] = ("\n".join([header, *rows]) + "\n").encode()
    _tree(folder, files)


def ingest(layout: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        from genmorph.cohorts.ingest import ingest_cohort
        from genmorph.cohorts.manifest import read_manifest
        from genmorph.cohorts.reading import Source

        out = folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        withdrawn = folder / "withdrawn.csv"
        ingest_cohort(
            name="tiny",
            layout=layout,
            source=Source(folder / "raw", None, withdrawn if withdrawn.exists() else None),
            out=out,
            shares=SHARES,
            split_seed=0,
            shard_size=4,
        )
        written = {path.relative_to(folder).parts[0] for path in folder.rglob("*")}
        assert written <= {"raw", "out", "withdrawn.csv"}
        for scan in read_manifest(out / "manifest.tsv"):
            place = (folder / "raw" / scan.path.split("!")[0]).resolve()
            assert place.is_relative_to((folder / "raw").resolve()), scan.path
        return out

    return read


def make_ingested(folder: Path) -> None:
    make_bids(folder)
    out = ingest("bids")(folder)
    for name in ("manifest.tsv", "participants.tsv", "ledger.tsv"):
        shutil.copy(out / name, folder / name)


def read_ingested(folder: Path) -> Any:
    from genmorph.cohorts.manifest import Ledger, of_shard, read_manifest, rows_digest, shards
    from genmorph.files import read_tsv

    scans = read_manifest(folder / "manifest.tsv")
    Ledger(folder / "ledger.tsv")
    read_tsv(folder / "participants.tsv", ("participant_id", "split"))
    return [rows_digest(of_shard(scans, shard)) for shard in shards(scans)]


# -- configuration and parameters ----------------------------------------------------------------


def make_config(folder: Path) -> None:
    (folder / "config.yaml").write_text(
        "scale: smoke\nresults: results\nseeds: [0, 1]\n"
        "cohorts: {simulated: {simulate: {n: 10}}, mine: {layout: bids, root: /nowhere}}\n"
        "studies: {m3ae: {cohort: simulated}}\n"
        "overrides: {m3ae: {m3ae: {beta: 4}}}\npreprocessing: {shard_size: 8}\n"
    )


def read_config(folder: Path) -> Any:
    from genmorph.config import load_config
    from genmorph.plan import Plan

    return Plan(load_config(folder / "config.yaml").model_dump())


def make_parameters(folder: Path) -> None:
    (folder / "parameters.json").write_text('{"study": "m3ae", "options": {"beta": 6.0}}')


def read_parameters(folder: Path) -> Any:
    from genmorph.cli.common import read_parameters as read

    return read(f"@{folder / 'parameters.json'}")


def make_measurement(folder: Path) -> None:
    content = {
        "measure": "frechet",
        "values": {"axial": 1.5},
        "spread": {"axial": 0.5},
        "n": {"made_scans": 4, "real_scans": 4},
        "settings": {"kernel": "rbf", "spread_over": "half-samples"},
        "notes": [],
    }
    (folder / "m.json").write_text(json.dumps(content))


def read_measurement(folder: Path) -> Any:
    from genmorph.files import read_json
    from genmorph.metrics.measurement import Measurement

    return Measurement.from_json(read_json(folder / "m.json"))


# -- weights -----------------------------------------------------------------------------------


def _model() -> Any:
    from genmorph.models import build

    options = {"channels": (2, 2, 3, 3), "latent_size": 4, "integration_steps": 3}
    return build("m3ae", options, (17, 5, 4), np.ones((17, 5, 4), np.float32), 0)


def make_checkpoint(folder: Path) -> None:
    from genmorph.training.checkpoints import read_header, save_model

    save_model(folder / "model.safetensors", _model(), {"study": "m3ae"})
    (folder / "said.json").write_text(json.dumps(read_header(folder / "model.safetensors")))


def read_checkpoint(folder: Path) -> Any:
    from genmorph.training.checkpoints import load_model

    return load_model(folder / "model.safetensors")


def read_lying_checkpoint(folder: Path) -> Any:
    """A checkpoint whose own hash is right, so that what it says of itself is believed."""
    import torch
    from safetensors.torch import load_file, save_file

    from genmorph.files import canonical_json, digest
    from genmorph.training.checkpoints import HEADER, load_model

    try:
        said = json.loads((folder / "said.json").read_text())
        header = canonical_json({**said, "sha256": digest(said)})
    except (ValueError, TypeError, RecursionError):
        return None  # it could not be written as a header
    tensors: dict[str, torch.Tensor] = load_file(folder / "model.safetensors")
    save_file(tensors, folder / "lying.safetensors", metadata={HEADER: header})
    return load_model(folder / "lying.safetensors")


def make_state(folder: Path) -> None:
    from genmorph.training.checkpoints import save_state

    weights = _model().state_dict()
    save_state(folder / "kept", 3, weights, {}, {"epoch": 1})


def read_state(folder: Path) -> Any:
    from genmorph.training.checkpoints import load_state

    shutil.rmtree(folder / "states", ignore_errors=True)  # damaged states are removed by the reader
    shutil.copytree(folder / "kept", folder / "states")
    return load_state(folder / "states")


# -- stores ------------------------------------------------------------------------------------


def make_store(folder: Path) -> None:
    from genmorph.store import Description, write_store

    rng = np.random.default_rng(0)
    volumes = [(f"sub-{number}", rng.random((4, 5, 6))) for number in range(3)]
    description = Description(np.eye(4).tolist(), "test volumes", "", {})
    write_store(folder / "store", volumes, shape=(4, 5, 6), dtype="uint8", description=description)


def read_store(folder: Path) -> Any:
    from genmorph.store import Store

    store = Store(folder / "store")
    return store.affine, store.shape, store.read_all()


# -- records and the audit -----------------------------------------------------------------------


def make_results(folder: Path) -> None:
    """A chain of an ingest, a measurement and a table, recorded."""
    import yaml

    from genmorph.files import write_json
    from genmorph.provenance.record import recording
    from genmorph.provenance.seal import sealed_text

    make_ingested(folder)
    root = folder / "results"
    cohort = root / "cohorts/tiny"
    cohort.mkdir(parents=True)
    config = {"cohorts": {"tiny": {"layout": "bids", "root": None}}}
    values = {"cohort": "tiny", "shares": SHARES, "split_seed": 0}
    parameters = {"ingest": [values], "evaluate.diversity": [{}], "table": [{}]}
    (root / "config.resolved.yaml").write_text(
        sealed_text(yaml.safe_dump({"config": config, "parameters": parameters}))
    )
    others = [cohort / name for name in ("participants.tsv", "ledger.tsv", "cohort.json")]
    manifest, measurement, table = (
        cohort / "manifest.tsv",
        root / "runs/m.json",
        root / "tables/t.csv",
    )
    cells = table.with_name("t_cells.csv")
    with recording("ingest", out=manifest, parameters=values, outputs=others):
        for path in (manifest, *others):
            shutil.copy(folder / "out" / path.name, path)
    with recording("evaluate.diversity", out=measurement, parameters={}, inputs=[manifest]):
        write_json(measurement, {"values": {"l2": 0.0512}})
    with recording("table", out=table, parameters={}, inputs=[measurement], outputs=[cells]):
        table.parent.mkdir()
        table.write_text('row,"L2, measured"\nM3AE,0.05\n')
        cells.write_text(
            "row,column,source,printed,value,spread,spread_over,measurement,key,format,reported,"
            'comparable,difference\nM3AE,"L2, measured",measured,0.05,0.0512,,,runs/m.json,'
            "values.l2,.2f,0.047,no,\n"
        )


def audit_results(folder: Path) -> Any:
    """The audit answers with a report: damage is what it is there to find."""
    from genmorph.cli.audit import broken_links, open_audit

    report = open_audit(folder / "results").run()
    broken_links(report)
    return report.to_json()


def read_resolved_config(folder: Path) -> Any:
    from genmorph.provenance.resolved import read_resolved

    return read_resolved(folder / "results")


def trace_cell(folder: Path) -> Any:
    """Where the table's one number comes from."""
    from genmorph.cli.audit import open_audit

    return open_audit(folder / "results").trace("tables/t.csv", "M3AE", "L2")


# -- all of them -----------------------------------------------------------------------------------


def _layout(name: str, *targets: str) -> list[Reader]:
    make = globals()[f"make_{name}"]
    return [
        Reader(f"{name}: {target.rsplit('/', 1)[-1]}", target, make, ingest(name), 2.0)
        for target in targets
    ]


def _audited(*targets: str) -> list[Reader]:
    return [
        Reader(f"audit: {target}", f"results/{target}", make_results, audit_results, 0.5)
        for target in targets
    ]


READERS = [
    Reader("nifti", "scan.nii", make_nifti, read_scan("scan.nii"), 8.0),
    Reader("nifti2", "scan.nii", make_nifti2, read_scan("scan.nii")),
    Reader("nifti.gz", "scan.nii.gz", make_gzip, read_scan("scan.nii.gz")),
    Reader("zip", "scan.zip", make_zip, read_scan("scan.zip!T1/T1.nii")),
    Reader("analyze", "scan.hdr", make_analyze, read_scan("scan.img", "analyze-LAS")),
    Reader("dicom", "series/004.dcm", make_dicom, read_scan("series", "dicom"), 0.5),
    Reader("label or probability map", "scan.nii", make_nifti, read_map),
    Reader("label atlas", "scan.nii", make_nifti, read_label_atlas),
    Reader("t-map", "t.nii", make_t_map, read_t_map),
    *_layout("bids", "raw/participants.tsv", "raw/sub-01/anat/sub-01_T1w.json"),
    *_layout("bids", "raw/dataset_description.json"),
    *_layout("ukb", "raw/ukb_tables.csv", "raw/1000003_20252_2_0.zip", "withdrawn.csv"),
    *_layout("hcp", "raw/unrestricted_me.csv", "raw/restricted_me.csv"),
    *_layout("hcp", "raw/100300_3T_Structural_unproc.zip"),
    *_layout("oasis", "raw/oasis_cross-sectional.csv"),
    *_layout("oasis", "raw/disc1/OAS1_0001_MR1/OAS1_0001_MR1.txt"),
    *_layout("adni", "raw/collection_5_01_2024.csv"),
    *_layout("adni", f"raw/ADNI/ADNI_002_S_0001_MR_{_SEQUENCE}_S5_I1.xml"),
    Reader("manifest", "manifest.tsv", make_ingested, read_ingested),
    Reader("ledger", "ledger.tsv", make_ingested, read_ingested),
    Reader("participants", "participants.tsv", make_ingested, read_ingested, 2.0),
    Reader("configuration", "config.yaml", make_config, read_config, 2.0),
    Reader("parameters", "parameters.json", make_parameters, read_parameters),
    Reader("measurement", "m.json", make_measurement, read_measurement),
    Reader("checkpoint", "model.safetensors", make_checkpoint, read_checkpoint),
    Reader("lying checkpoint", "said.json", make_checkpoint, read_lying_checkpoint),
    Reader("training state", "kept/step-00000003/state.json", make_state, read_state, 1.0),
    Reader(
        "training state, weights",
        "kept/step-00000003/weights.safetensors",
        make_state,
        read_state,
        1.0,
    ),
    Reader("store: index", "store/index.tsv", make_store, read_store, 2.0),
    Reader("store: description", "store/store.json", make_store, read_store, 2.0),
    Reader("store: array", "store/shard-0000.zarr/zarr.json", make_store, read_store, 2.0),
    Reader("store: chunk", "store/shard-0000.zarr/c/1/0/0/0", make_store, read_store, 2.0),
    *_audited("config.resolved.yaml", "provenance/cohorts/tiny/manifest.tsv.json"),
    *_audited("provenance/tables/t.csv.json", "cohorts/tiny/manifest.tsv", "runs/m.json"),
    *_audited("cohorts/tiny/ledger.tsv", "cohorts/tiny/cohort.json", "tables/t_cells.csv"),
    Reader("resolved", "results/config.resolved.yaml", make_results, read_resolved_config),
    Reader("trace: cells", "results/tables/t_cells.csv", make_results, trace_cell),
    Reader("trace: record", "results/provenance/runs/m.json.json", make_results, trace_cell),
]


def preload() -> None:
    """Import what is heavy, so that no input is charged with it."""
    for name in ("torch", "safetensors.torch", "zarr", "pandas", "genmorph.plan"):
        importlib.import_module(name)
