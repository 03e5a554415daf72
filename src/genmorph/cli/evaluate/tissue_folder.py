"""The tissues of a store as the measures read them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from genmorph.errors import StoreError

if TYPE_CHECKING:
    import pandas as pd

    from genmorph.store import Store

OK = "ok"


class TissueFolder:
    """What `genmorph segment` or `genmorph import-tissues` wrote.

    Parameters
    ----------
    table : Path
        `volumes.tsv`.

    Attributes
    ----------
    folder : Path
    segmentation : dict
        How tissues were found.
    description : Description
        Of the store that was segmented.
    shape : tuple of int
        Grid of that store.
    failed : list of str
        Volumes whose segmentation failed.

    Raises
    ------
    StoreError
        When the folder is none of these.
    """

    def __init__(self, table: Path) -> None:
        from genmorph.files import read_json, read_tsv
        from genmorph.preprocessing.anatomy import DESCRIPTION, VOLUMES_COLUMNS
        from genmorph.store import Description

        self.folder = table.parent
        described = self.folder / DESCRIPTION
        if not (table.is_file() and described.is_file()):
            raise StoreError(
                f"{table}: no table of tissue volumes with a {DESCRIPTION} beside it",
                "make it with `genmorph segment` or `genmorph import-tissues`",
            )
        self._rows = {row["scan_id"]: row for row in read_tsv(table, VOLUMES_COLUMNS)}
        content = read_json(described)
        self.segmentation: dict[str, Any] = content["segmentation"]
        store = dict(content["store"])
        self.shape = tuple(store.pop("shape"))
        self.description = Description(**store)
        self.failed = [name for name, row in self._rows.items() if row["status"] != OK]

    @property
    def ids(self) -> list[str]:
        """Volumes that were segmented."""
        return [name for name, row in self._rows.items() if row["status"] == OK]

    def __contains__(self, scan_id: str) -> bool:
        return scan_id in self._rows and self._rows[scan_id]["status"] == OK

    def volumes(self, scan_ids: list[str]) -> pd.DataFrame:
        """Volumes of tissues in ml, a row a scan; a tissue without a number is absent."""
        import pandas as pd

        from genmorph.preprocessing.anatomy import DEEP_GRAY
        from genmorph.preprocessing.engines.tissue import TISSUES

        rows = [self._rows[scan_id] for scan_id in scan_ids]
        names = [name for name in (*TISSUES, DEEP_GRAY) if any(row[name] for row in rows)]
        return pd.DataFrame(
            {"scan_id": scan_ids, **{name: [float(row[name]) for row in rows] for name in names}}
        )

    def maps(self, name: str) -> Store:
        """The store of a tissue's maps.

        Raises
        ------
        StoreError
            When there is none: imported tables come without maps.
        """
        from genmorph.store import Store

        folder = self.folder / name
        if not (folder / "index.tsv").is_file():
            raise StoreError(
                f"{folder}: no maps, only volumes ({self.segmentation['software']})",
                "this measure needs `genmorph segment`",
            )
        return Store(folder)

    def note_of_failures(self, side: str) -> tuple[str, ...]:
        """What a measurement has to say of volumes that could not be segmented."""
        if not self.failed:
            return ()
        named = ", ".join(self.failed[:5]) + (", ..." if len(self.failed) > 5 else "")
        return (f"{len(self.failed)} {side} volumes could not be segmented: {named}.",)
