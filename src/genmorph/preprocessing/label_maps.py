"""Label maps from files, on the grid of a store, in the groups of the realistic atlas score."""

from __future__ import annotations

import glob
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genmorph.errors import CohortError, ConfigError, MeasurementError, ScanError, did_you_mean
from genmorph.files import read_tsv
from genmorph.metrics.label_groups import group_labels, group_names
from genmorph.preprocessing.anatomy import read_map
from genmorph.preprocessing.transforms import GRID_TO_SCAN, read_transforms
from genmorph.store import Store

FILE = "**/{scan_id}_dseg.nii.gz"
ANYWHERE = "**/"
SPACES = ("preprocessed", "scan")
# share of the labelled voxels that must lie on the brain; those of a scan that was not yet
# preprocessed lie elsewhere
LEAST_ON_BRAIN = 0.8


@dataclass(frozen=True)
class LabelSource:
    """Where label maps lie, and how they lie in space.

    Attributes
    ----------
    folder : Path
    grouping : str
        Whose numbers they have: a key of `metrics.label_groups.GROUPINGS`.
    file : str
        Pattern of a map's path below `folder`. `{words}` are columns of the table of names, `*`
        and `**/` as in the shell. Where no `.nii.gz` is, the same name with `.nii` will do.
    space : {'preprocessed', 'scan'}
        Whether they lie on the preprocessed volumes, as `genmorph export` writes them, or on the
        raw scans.
    status : Path or None
        The store's status.tsv, for maps in the scans' space.
    manifest : Path or None
        Its columns are the words of `file`; without it there is `{scan_id}` alone.
    names : Path or None
        Table with a column `path`, the raw scan as the manifest has it, whose columns are the
        words instead: for maps that are named otherwise than the manifest.
    """

    folder: Path
    grouping: str
    file: str = FILE
    space: str = "preprocessed"
    status: Path | None = None
    manifest: Path | None = None
    names: Path | None = None


class LabelMaps(Mapping[str, np.ndarray]):
    """Label maps of a store's volumes by scan id, read at every access.

    Parameters
    ----------
    source : LabelSource
    store : Store
        Its grid is what the maps are brought to: each voxel takes the group that most of it
        belongs to (`majority_labels`), which on a grid as fine as the map is nearest neighbour.

    Raises
    ------
    ConfigError
        When the pattern has a word that no column is called, or a file that is needed is not
        given.
    CohortError
        When the way from the grid to a raw scan is not known.
    MeasurementError
        When there is no such grouping.
    ScanError
        When there is no map of any of the store's volumes, or two of one.
    """

    def __init__(self, source: LabelSource, store: Store) -> None:
        self.source, self.store = source, store
        self.n_groups = len(group_names(source.grouping))
        if source.space not in SPACES:
            raise ConfigError(
                f"labels: space '{source.space}' is unknown", did_you_mean(source.space, SPACES)
            )
        words = {key: row for key, row in _words(source, store).items() if key in store}
        self.files = find_maps(source.folder, source.file, words)
        if not self.files:
            raise ScanError(
                f"{source.folder}: no {source.file} of a scan in {store.folder}",
                "name the files as the pattern says: `--file`, or `labels.file` in the config",
            )
        self._to_scan = _transforms(source, list(self.files))

    def __getitem__(self, scan_id: str) -> np.ndarray:
        """Groups `[x, y, z]` by `group_names`, uint8.

        Raises
        ------
        ScanError
            When the map cannot be read, has numbers that its source does not know, or does not
            lie on the volume's brain.
        """
        path = self.files[scan_id]
        image = read_map(path)
        try:
            grouped = group_labels(image.data, self.source.grouping)
        except MeasurementError as error:
            raise ScanError(f"{path}: {error.message}", error.cure) from None
        to_map = np.linalg.inv(image.affine) @ self._to_scan[scan_id] @ self.store.affine
        labels = majority_labels(grouped, to_map, self.store.shape, self.n_groups)
        volume = self.store.read(scan_id)
        labelled = labels != 0
        on_brain = float((volume[labelled] > volume.min()).mean()) if labelled.any() else 0.0
        if on_brain < LEAST_ON_BRAIN:
            raise ScanError(
                f"{path}: {on_brain:.0%} of its labels lie on the brain of {scan_id}",
                _OTHER_SPACE[self.source.space],
            )
        return labels

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)


_OTHER_SPACE = {
    "preprocessed": "label the preprocessed volumes, as `genmorph export` writes them, or say "
    "`space: scan` of maps that lie on the raw scans",
    "scan": "give maps that lie on the raw scans that were preprocessed, or say "
    "`space: preprocessed` of maps of the preprocessed volumes",
}


def majority_labels(
    labels: np.ndarray, to_map: np.ndarray, shape: Sequence[int], n_labels: int
) -> np.ndarray:
    """Labels on another grid, each voxel that which most of it belongs to.

    Every voxel is asked at as many evenly spaced points along each axis as it is map voxels wide
    (at least one, its centre), each answered by the nearest map voxel; the label met most often is
    the voxel's. A single point would make a coarse grid's labels those of single map voxels.

    Parameters
    ----------
    labels : ndarray `[x, y, z]`, uint8
    to_map : ndarray, shape (4, 4)
        Voxels of the grid to voxels of the map.
    shape : sequence of int
        Of the grid.
    n_labels : int
        The labels are below it.

    Returns
    -------
    ndarray, uint8, of `shape`
        0 where the map ends; of labels met equally often the lowest.
    """
    from scipy.ndimage import affine_transform

    widths = np.linalg.norm(to_map[:3, :3], axis=0)
    points = np.maximum(1, np.rint(widths)).astype(int)
    # points of a voxel stand at its centre, or evenly around it
    to_grid = np.eye(4)
    to_grid[:3, :3] = np.diag(1.0 / points)
    to_grid[:3, 3] = 0.5 / points - 0.5
    pull = to_map @ to_grid
    asked = affine_transform(
        labels,
        pull[:3, :3],
        pull[:3, 3],
        output_shape=tuple(np.multiply(shape, points)),
        order=0,
        mode="grid-constant",
        cval=0,
    )
    if (points == 1).all():
        return asked
    blocks = asked.reshape([size for pair in zip(shape, points, strict=True) for size in pair])
    found = np.zeros(tuple(shape), np.uint8)
    most = (blocks == 0).sum(axis=(1, 3, 5), dtype=np.int32)
    for label in range(1, n_labels):
        count = (blocks == label).sum(axis=(1, 3, 5), dtype=np.int32)
        found[count > most] = label
        most = np.maximum(most, count)
    return found


def find_maps(
    folder: Path, pattern: str, words: Mapping[str, Mapping[str, str | None]]
) -> dict[str, Path]:
    """The label map of each scan, of those that have one.

    Parameters
    ----------
    folder : Path
    pattern : str
        See `LabelSource.file`.
    words : mapping of str to mapping
        By scan id, the columns that the pattern may name.

    Raises
    ------
    ConfigError
        When the pattern is no pattern, or names what is no column.
    ScanError
        When a scan has two maps.
    """
    _check_pattern(pattern, words)
    name_only = pattern.startswith(ANYWHERE) and "/" not in pattern[len(ANYWHERE) :]
    listed: dict[str, list[Path]] = {}
    if name_only:  # one walk through the tree, not one for each scan
        for path in folder.rglob("*.nii*"):
            listed.setdefault(path.name, []).append(path)
    files = {}
    for scan_id, row in words.items():
        filled = pattern.format_map({key: glob.escape(value or "") for key, value in row.items()})
        found = []
        for name in dict.fromkeys((filled, filled.removesuffix(".gz"))):
            name_there = name.removeprefix(ANYWHERE)
            if name_only and not glob.has_magic(name_there):
                found += listed.get(name_there, [])
            else:
                found += folder.glob(name)
        if len(found) > 1:
            shown = ", ".join(str(path.relative_to(folder)) for path in sorted(found)[:2])
            raise ScanError(f"{folder}: two label maps of {scan_id}: {shown}", "keep one of them")
        if found:
            files[scan_id] = found[0]
    return files


def _check_pattern(pattern: str, words: Mapping[str, Mapping[str, str | None]]) -> None:
    try:
        wanted = [name for _, name, _, _ in string.Formatter().parse(pattern) if name is not None]
    except ValueError as error:
        raise ConfigError(
            f"labels: file '{pattern}' ({error})", "write words as {scan_id}"
        ) from None
    if pattern.startswith("/"):
        raise ConfigError(f"labels: file '{pattern}' does not begin below the folder")
    if not wanted:
        raise ConfigError(
            f"labels: file '{pattern}' is the same for every scan", "name a word: {scan_id}"
        )
    known = next(iter(words.values()), {"scan_id": None})
    for name in wanted:
        if name not in known:
            raise ConfigError(
                f"labels: file '{pattern}' has the word {{{name}}}; {did_you_mean(name, known)}",
                "take a column of the manifest (give it with --manifest) or of the table of names",
            )


def _words(source: LabelSource, store: Store) -> dict[str, dict[str, str | None]]:
    """Columns that the pattern may name, by scan id."""
    if source.manifest is None:
        if source.names is not None:
            raise ConfigError(
                f"labels: {source.names} names scans by their paths, which no manifest tells",
                "give --manifest too",
            )
        return {scan_id: {"scan_id": scan_id} for scan_id in store.ids}
    listed = read_tsv(source.manifest, ("scan_id", "path", "exclude_reason"))
    # a second scan of a session that was left out has the id of the one that is used
    rows = [row for row in listed if row["exclude_reason"] is None]
    if source.names is None:
        return {str(row["scan_id"]): row for row in rows}
    named = {row["path"]: row for row in read_tsv(source.names, ("path",))}
    return {str(row["scan_id"]): named[row["path"]] for row in rows if row["path"] in named}


def _transforms(source: LabelSource, scan_ids: Sequence[str]) -> Mapping[str, np.ndarray]:
    """Matrix (4, 4) from the grid's world to the labels' for each scan."""
    if source.space == "preprocessed":
        return dict.fromkeys(scan_ids, np.eye(4))
    if source.status is None:
        raise ConfigError(
            "labels: space scan, and no table that knows the way to the scans",
            "give --status: status.tsv of the preprocessed store",
        )
    known = read_transforms(source.status)
    if unknown := [scan_id for scan_id in scan_ids if scan_id not in known]:
        raise CohortError(
            f"{source.status}: {GRID_TO_SCAN} of {', '.join(unknown[:3])} is not known "
            f"({len(unknown)} of {len(scan_ids)} scans)",
            "preprocess with an affine registration, or label the preprocessed volumes",
        )
    return known
