"""Tissues of every volume of a store, and each tissue brought to the template: what tissue volumes,
segmentation overlap and voxel-based morphometry are measured from.

One nonlinear registration a volume serves three ends: priors for the segmentation, deep gray
matter from an atlas, and modulated maps on the template's grid.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from genmorph.config import AtlasSource
from genmorph.errors import ScanError, StoreError
from genmorph.files import atomic_folder, write_json, write_tsv
from genmorph.preprocessing.engines.tissue import TISSUES, TissueSegmentation
from genmorph.preprocessing.raw import Image
from genmorph.processes import WorkerDied, work_through
from genmorph.store import Description, Store, shard_name, write_index, write_shard
from genmorph.validation import Options

DEEP_GRAY = "DGM"
MODULATED = "modulated_GM"
VOLUMES_TABLE = "volumes.tsv"
DESCRIPTION = "anatomy.json"
VOLUMES_COLUMNS = ("scan_id", "status", "reason", *TISSUES, DEEP_GRAY)


class AnatomyOptions(Options):
    """How tissues are found in volumes that are skull-stripped and lie on a store's grid."""

    engine: Literal["builtin", "fsl", "spm"] = Field(
        "builtin", description="of the segmentation; the registration is SyN in every case"
    )
    segmentation: TissueSegmentation = Field(TissueSegmentation())
    mask_threshold: float = Field(
        0.05, ge=0, lt=1, description="of the brightest percent: darker voxels are no brain"
    )
    least_brain_ml: float = Field(300.0, gt=0, description="a smaller brain is a failure")


@dataclass(frozen=True)
class Atlas:
    """Deep gray matter in the template's space.

    Attributes
    ----------
    map : Image
        Probability of deep gray matter, 0 to 1.
    name, licence, sha256 : str
        What a measurement says of it.
    """

    map: Image
    name: str
    licence: str
    sha256: str

    def describe(self) -> dict[str, str]:
        """As JSON values."""
        return {"name": self.name, "licence": self.licence, "sha256": self.sha256}


def read_map(path: Path) -> Image:
    """Read a map of labels or probabilities in its own orientation turned to RAS+.

    Raises
    ------
    ScanError
        When it is no 3-D NIfTI image, or holds a value that is not finite.
    """
    import nibabel as nib

    try:
        image = nib.as_closest_canonical(nib.load(path))
        data = np.asarray(image.dataobj, dtype=np.float32)
    except Exception as error:  # nibabel raises many kinds on damaged files
        raise ScanError(f"{path}: cannot be read ({error})") from None
    if data.ndim != 3 or not np.isfinite(data).all():
        raise ScanError(f"{path}: a finite 3-D map is expected, found {data.shape}")
    return Image(data, image.affine)


def read_atlas(path: Path, source: AtlasSource) -> Atlas:
    """Read an atlas in the template's (MNI152) space.

    Parameters
    ----------
    path : Path
        NIfTI: a label map, or probabilities of deep gray matter.
    source : AtlasSource

    Raises
    ------
    ScanError
        When it cannot be read, holds none of the labels, or no probabilities.
    """
    from genmorph.files import sha256_file

    image = read_map(path)
    if source.labels is not None:
        deep = np.isin(np.rint(image.data).astype(int), source.labels)
        if not deep.any():
            raise ScanError(f"{path}: none of the labels {list(source.labels)} is in it")
        image = image.with_data(deep)
    elif image.data.min() < 0 or image.data.max() > 1 or not image.data.any():
        raise ScanError(
            f"{path}: values {image.data.min():g} to {image.data.max():g} are no probabilities",
            "give `labels` for a label map",
        )
    return Atlas(image, source.name, source.licence, sha256_file(path))


@dataclass(frozen=True)
class Anatomy:
    """Tissues of one volume.

    Attributes
    ----------
    tissues : dict of str to ndarray
        Probabilities `[x, y, z]` on the volume's grid: CSF, GM and WM, and DGM with an atlas. They
        sum to one in the brain; with an atlas, GM and WM are without deep gray matter.
    volumes_ml : dict of str to float
    modulated : ndarray, float32
        GM on the template's grid times the Jacobian determinant: it holds the same volume.
    """

    tissues: dict[str, np.ndarray]
    volumes_ml: dict[str, float]
    modulated: np.ndarray


def brain_of(volume: np.ndarray, threshold: float) -> np.ndarray:
    """The brain of a skull-stripped volume: brighter than a share of its 99th percentile.

    The largest connected part, holes filled: a generated volume may have a faint background.
    """
    from scipy.ndimage import binary_fill_holes, label

    bright = volume[volume > 0]
    if bright.size == 0:
        raise ScanError("the volume is zero everywhere")
    parts, found = label(volume > threshold * np.percentile(bright, 99))
    if found == 0:
        raise ScanError("no voxel is brighter than the background")
    largest = np.argmax(np.bincount(parts.ravel())[1:]) + 1
    return binary_fill_holes(parts == largest)


def anatomy_of(image: Image, options: AnatomyOptions, atlas: Atlas | None) -> Anatomy:
    """Find the tissues of a skull-stripped volume and bring its gray matter to the template.

    Raises
    ------
    ScanError
        When the volume holds no brain, or a step fails.
    """
    from genmorph.preprocessing.engines import tissue

    if not np.isfinite(image.data).all():
        raise ScanError("a voxel is not finite")
    mask = brain_of(image.data, options.mask_threshold)
    brain_ml = float(mask.sum() * image.voxel_ml)
    if brain_ml < options.least_brain_ml:
        raise ScanError(f"the brain has {brain_ml:.0f} ml, less than {options.least_brain_ml:g}")
    brain = image.with_data(np.where(mask, image.data, 0).astype(np.float32))
    with tissue.registered(brain, options.segmentation.registration) as registration:
        maps = _segmented(registration, mask, options)
        if atlas is not None:
            maps = with_deep_gray(maps, np.clip(registration.onto_scan(atlas.map), 0, 1))
        warp = registration.warp()
    gray = maps["GM"] + maps.get(DEEP_GRAY, 0)
    return Anatomy(
        tissues={name: array.astype(np.float32) for name, array in maps.items()},
        volumes_ml={name: float(array.sum() * image.voxel_ml) for name, array in maps.items()},
        modulated=warp.pull(gray, image.affine) * warp.jacobian,
    )


def _segmented(registration: Any, mask: np.ndarray, options: AnatomyOptions) -> dict[str, Any]:
    from importlib import import_module

    from genmorph.preprocessing.engines import tissue

    if options.engine == "builtin":
        return tissue.segment_registered(registration, mask, options.segmentation)
    engine = import_module(f"genmorph.preprocessing.engines.{options.engine}")
    found = engine.segment_tissues(registration.brain, mask, options.segmentation)
    return {name: found[name] for name in TISSUES}


def with_deep_gray(maps: dict[str, np.ndarray], deep: np.ndarray) -> dict[str, np.ndarray]:
    """Give deep gray matter its share of gray and white matter; fluid stays fluid.

    Intensity alone gives about a third of it to white matter.

    Parameters
    ----------
    maps : dict
        Probabilities of CSF, GM and WM.
    deep : ndarray
        Probability of deep gray matter on the same grid.

    Examples
    --------
    >>> one = np.ones(1)
    >>> found = with_deep_gray({"CSF": 0.2 * one, "GM": 0.2 * one, "WM": 0.6 * one}, 0.5 * one)
    >>> {name: round(float(array[0]), 2) for name, array in found.items()}
    {'CSF': 0.2, 'GM': 0.1, 'WM': 0.3, 'DGM': 0.4}
    """
    return {
        "CSF": maps["CSF"],
        "GM": maps["GM"] * (1 - deep),
        "WM": maps["WM"] * (1 - deep),
        DEEP_GRAY: (maps["GM"] + maps["WM"]) * deep,
    }


# -- a store ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Failed:
    reason: str


def segment_store(
    store: Store,
    scan_ids: Sequence[str],
    out: Path,
    *,
    options: AnatomyOptions,
    atlas: Atlas | None = None,
    workers: int = 1,
    say: Callable[[str], None] = lambda line: print(line, flush=True),
) -> int:
    """Segment volumes of a store and bring their gray matter to the template.

    Writes the stores `GM`, `WM`, `CSF` (and `DGM` with an atlas) on the store's grid, the store
    `modulated_GM` on the template's, and the table `volumes.tsv` (ml). A volume that fails is a
    row of the table with its reason. The folder appears when it is complete.

    Parameters
    ----------
    store : Store
    scan_ids : sequence of str
    out : Path
        Folder to make.
    options : AnatomyOptions
    atlas : Atlas, optional
        Without one there is no deep gray matter: its column is n/a.
    workers : int
        Processes; the bytes written do not depend on it.
    say : callable
        Takes a line of progress.

    Returns
    -------
    int
        Number of volumes that failed.

    Raises
    ------
    StoreError
        When every volume fails.
    """
    names = [*TISSUES, *([DEEP_GRAY] if atlas else []), MODULATED]
    work = functools.partial(_work, folder=store.folder, options=options, atlas=atlas)
    rows: dict[str, dict[str, Any]] = {}
    with atomic_folder(out) as folder:
        pieces = folder / "pieces"
        pieces.mkdir()
        for index, found in work_through(
            functools.partial(work, pieces=pieces), list(scan_ids), workers=workers
        ):
            scan_id = scan_ids[index]
            rows[scan_id] = _row(scan_id, found)
            say(f"{len(rows)}/{len(scan_ids)} {scan_id}: {rows[scan_id]['reason'] or 'ok'}")
        good = [scan_id for scan_id in scan_ids if rows[scan_id]["status"] == "ok"]
        if not good:
            reason = next(iter(rows.values()))["reason"]
            raise StoreError(f"{store.folder}: every volume failed; the first: {reason}")
        for name in names:
            _gather(folder / name, pieces, good, name, store, options, atlas)
        for piece in pieces.iterdir():
            piece.unlink()
        pieces.rmdir()
        write_json(
            folder / DESCRIPTION,
            {"segmentation": describe(options, atlas), "store": store_described(store)},
        )
        write_tsv(folder / VOLUMES_TABLE, VOLUMES_COLUMNS, [rows[name] for name in scan_ids])
    return len(scan_ids) - len(good)


def store_described(store: Store) -> dict[str, Any]:
    """What measures of tissues have to know of the store that was segmented."""
    return {**vars(store.description), "shape": list(store.shape)}


def describe(options: AnatomyOptions, atlas: Atlas | None) -> dict[str, Any]:
    """What a measurement says of the segmentation."""
    return {
        "engine": options.engine,
        "software": _software(options.engine),
        "options": options.model_dump(mode="json"),
        "template": "MNI152NLin2009aSym (nilearn)",
        "deep_gray_atlas": atlas.describe() if atlas else None,
        "gray_matter": "without deep gray matter"
        if atlas
        else "with what of deep gray matter its intensity gives it",
    }


def _software(engine: str) -> str:
    """What segments and what registers, with versions."""
    from importlib import import_module

    from genmorph.preprocessing.engines import ENGINES, tissue

    if engine == "builtin":
        return tissue.software("Atropos", "SyN")
    versions = import_module(ENGINES[engine]).versions()
    tools = ", ".join(f"{tool} {version}" for tool, version in versions.items())
    return f"{tools}; {tissue.software('SyN')}"


def _work(
    scan_id: str, *, folder: Path, options: AnatomyOptions, atlas: Atlas | None, pieces: Path
) -> dict[str, float] | _Failed:
    """One volume in a worker: its maps go to files, for all of them would not fit in memory."""
    store = Store(folder)
    try:
        found = anatomy_of(Image(store.read(scan_id), store.affine), options, atlas)
    except ScanError as error:
        return _Failed(" ".join(error.message.split()))
    except Exception as error:  # a library fails on one volume in ways of its own
        return _Failed(" ".join(f"{type(error).__name__}: {error}".split()))
    np.savez(pieces / f"{scan_id}.npz", **found.tissues, **{MODULATED: found.modulated})
    return found.volumes_ml


def _row(scan_id: str, found: dict[str, float] | _Failed | WorkerDied) -> dict[str, Any]:
    if isinstance(found, _Failed | WorkerDied):
        reason = found.reason if isinstance(found, _Failed) else str(found)
        return {"scan_id": scan_id, "status": "failed", "reason": reason}
    return {
        "scan_id": scan_id,
        "status": "ok",
        "reason": "",
        **{name: f"{volume:.4f}" for name, volume in found.items()},
    }


def _gather(
    folder: Path,
    pieces: Path,
    scan_ids: Sequence[str],
    name: str,
    store: Store,
    options: AnatomyOptions,
    atlas: Atlas | None,
) -> None:
    """Make one store of the pieces of all volumes."""
    from genmorph.preprocessing.engines import tissue

    def maps() -> Iterator[tuple[str, np.ndarray]]:
        for scan_id in scan_ids:
            with np.load(pieces / f"{scan_id}.npz", allow_pickle=False) as arrays:
                yield scan_id, arrays[name]

    of_template = name == MODULATED
    working = options.segmentation.registration.working_mm
    affine = tissue.template_grid(working)[1] if of_template else store.affine
    shape = tissue.template_grid(working)[0] if of_template else store.shape
    rows, _ = write_shard(
        folder / shard_name(0),
        maps(),
        shape=shape,
        dtype="float32" if of_template else "uint8",
    )
    description = Description(
        affine=np.asarray(affine).tolist(),
        content=f"{name} of {store.description.content}",
        data_label=store.description.data_label,
        source={
            **store.description.source,
            **({"registered": True} if of_template else {}),
            "anatomy": describe(options, atlas),
        },
    )
    write_index(folder, [{**row, "shard": 0} for row in rows], description)
