"""A simulated scan as a DICOM series: one file a sagittal slice."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

import numpy as np

from genmorph.cohorts.simulate.scan import SimulatedScan

# Rows of a slice run downwards, columns to the back, slices to the left: axes of the array
# [column, row, slice] in the words of nibabel.
SLICE_ORIENTATION = "PIL"
LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def dicom_slices(
    scan: SimulatedScan, *, person: str, series: str, time: datetime, number: str
) -> Iterator[bytes]:
    """Slices of a series, first to last, whose bytes depend on nothing but the arguments.

    Parameters
    ----------
    person : str
        Id that stands in for the name.
    series : str
        Description of the series.
    time : datetime
        Start of the acquisition.
    number : str
        What makes the identifiers of this series its own.
    """

    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

    grid = replace(scan.grid, orientation=SLICE_ORIENTATION)
    volume, affine = grid.stored(scan.image), LPS_FROM_RAS @ grid.affine
    voxel_mm = np.linalg.norm(affine[:3, :3], axis=0)
    directions = affine[:3, :3] / voxel_mm
    known = f"{person}/{time.isoformat()}/{number}"
    for place in range(volume.shape[2]):
        position = affine[:3, 3] + place * affine[:3, 2]
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = MRImageStorage
        meta.MediaStorageSOPInstanceUID = _identifier(known, "slice", str(place))
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.ImplementationClassUID = _identifier("genmorph")
        meta.ImplementationVersionName = "GENMORPH"

        data = Dataset()
        data.SOPClassUID = MRImageStorage
        data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
        data.StudyInstanceUID = _identifier(person, time.date().isoformat())
        data.SeriesInstanceUID = _identifier(known, "series")
        data.FrameOfReferenceUID = _identifier(known, "frame")
        data.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
        data.Modality = "MR"
        data.Manufacturer = "none (simulated)"
        data.MagneticFieldStrength = scan.acquisition.field_strength_tesla
        data.MRAcquisitionType = "3D"
        data.ScanningSequence = "GR"
        data.SequenceVariant = ["SP", "MP"]
        data.SeriesDescription = data.ProtocolName = series
        data.ImageComments = "synthetic head made by genmorph simulate: nobody was scanned"
        data.PatientName = data.PatientID = person
        data.PatientSex = scan.visit.sex
        data.PatientAge = f"{int(scan.visit.age_years):03d}Y"
        data.PatientPosition = "HFS"
        data.StudyID, data.AccessionNumber = "1", ""
        data.SeriesNumber, data.AcquisitionNumber, data.InstanceNumber = 2, 1, place + 1
        data.StudyDate = data.SeriesDate = data.AcquisitionDate = f"{time:%Y%m%d}"
        data.StudyTime = data.SeriesTime = data.AcquisitionTime = f"{time:%H%M%S}"

        data.PixelSpacing = [_text(voxel_mm[1]), _text(voxel_mm[0])]  # between rows, columns
        data.SliceThickness = data.SpacingBetweenSlices = _text(voxel_mm[2])
        data.ImageOrientationPatient = [_text(v) for v in (*directions[:, 0], *directions[:, 1])]
        data.ImagePositionPatient = [_text(value) for value in position]
        data.SliceLocation = _text(float(position @ directions[:, 2]))
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.Columns, data.Rows = volume.shape[:2]
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
        data.PixelRepresentation = 1
        data.PixelData = np.ascontiguousarray(volume[:, :, place].T).astype("<i2").tobytes()
        data["PixelData"].VR = "OW"
        data.file_meta = meta
        stream = io.BytesIO()
        data.save_as(stream, enforce_file_format=True)
        yield stream.getvalue()


def _identifier(*use: str) -> str:
    """A unique identifier that depends on every word of `use`."""
    digest = hashlib.sha256("\0".join(use).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def _text(value: float) -> str:
    """A decimal string of at most 16 characters."""
    return f"{value + 0.0:.10g}"[:16]
