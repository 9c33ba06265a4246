"""NIfTI, MetaImage and NRRD files that hold one plane: what the header claims is checked before anything is read.

Index order is kept, whatever direction cosines or a NIfTI's affine say: the first axis runs along the columns, the
second down the rows. That is how ITK, nibabel (of a transposed array) and the converters of radiographs write them.
"""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any, Literal

import nibabel
import numpy as np
import SimpleITK as sitk  # noqa: N813 (the name that all its documentation uses)
from numpy.typing import NDArray

from medtea.core.errors import DataError
from medtea.data.pictures import refuse_size

Spacing = tuple[float, float]
NIFTI, METAIMAGE, NRRD = (".nii", ".nii.gz"), (".mha", ".mhd"), (".nrrd", ".nhdr")
DETACHED = (".mhd", ".nhdr")
SUFFIXES = (*NIFTI, *METAIMAGE, *NRRD)
LONGEST_HEADER = 1 << 16  # bytes
NIFTI_HEADERS = {348: nibabel.Nifti1Header, 540: nibabel.Nifti2Header}
SINGLE_FILE = (b"n+1", b"n+2")  # the magic of a NIfTI whose pixels follow in the same file
MM = {"meter": 1000.0, "micron": 0.001}
MOST_AXES = 4

# ITK's warnings go to the terminal and quote the file's name.
sitk.ProcessObject.SetGlobalWarningDisplay(False)


def read_volume(path: Path) -> tuple[NDArray[np.float32], Spacing]:
    """The plane, (rows, columns), and mm between rows and between columns.

    8- and 16-bit unsigned values are divided by the largest of their type, numbers already in [0, 1] are kept, and all
    others run from the image's smallest to its largest value.

    Raises:
        DataError: no single grey plane, larger than a radiograph, damaged, or a header that leads to another file than
            its own data file beside it.
    """
    name = path.name.lower()
    if name.endswith(NIFTI):
        return _nifti(path)
    if name.endswith(METAIMAGE):
        _check_metaimage(path)
        return _by_itk(path, "MetaImage")
    _check_nrrd(path)
    return _by_itk(path, "NRRD")


def _nifti(path: Path) -> tuple[NDArray[np.float32], Spacing]:
    try:
        with path.open("rb") as raw, gzip.GzipFile(fileobj=raw) if _is_gzip(path) else raw as file:
            head = file.read(max(NIFTI_HEADERS))
            header = _nifti_header(head)
            shape, offset = header.get_data_shape(), int(header.get_data_offset())
            refuse_all_but_one_plane(shape, components=1 if header.get_data_dtype().kind in "uif" else 3)
            if not 0 < offset <= LONGEST_HEADER:
                raise DataError(f"The NIfTI header claims to be {offset} bytes long; at most {LONGEST_HEADER}.")
            slope, intercept = header.get_slope_inter()
            unit = MM.get(header.get_xyzt_units()[0], 1.0)
            across, down = (float(zoom) * unit for zoom in header.get_zooms()[:2])
            # Not a byte more is unpacked than the header claims, however long the file is.
            claimed = offset + shape[0] * shape[1] * header.get_data_dtype().itemsize
            content = head + file.read(max(claimed - len(head), 0))
    except DataError:
        raise
    except Exception as problem:  # nibabel and gzip have many kinds
        raise DataError(f"The NIfTI header cannot be read ({type(problem).__name__}).") from None
    if len(content) < claimed:
        raise DataError("The NIfTI file ends before the pixels that its header claims.")
    values = np.frombuffer(content, header.get_data_dtype(), shape[0] * shape[1], offset).reshape(shape[1], shape[0])
    if slope is not None and (slope, intercept) != (1, 0):
        values = values * slope + intercept
    return by_type(values), (down, across)


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _nifti_header(head: bytes) -> Any:
    for length, kind in NIFTI_HEADERS.items():
        if length in (int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big")):
            header = kind(head[:length])
            if bytes(header["magic"].item())[:3] not in SINGLE_FILE:
                raise DataError("The NIfTI header's pixels lie in another file; give a single .nii or .nii.gz file.")
            return header
    raise DataError("The NIfTI header cannot be read: its length is neither 348 nor 540.")


def _by_itk(path: Path, kind: Literal["MetaImage", "NRRD"]) -> tuple[NDArray[np.float32], Spacing]:
    reader = sitk.ImageFileReader()
    reader.SetImageIO({"MetaImage": "MetaImageIO", "NRRD": "NrrdImageIO"}[kind])
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        size, components, spacing = reader.GetSize(), reader.GetNumberOfComponents(), reader.GetSpacing()
    except RuntimeError:
        raise DataError(f"The {kind} header cannot be read.") from None
    refuse_all_but_one_plane(size, components=components)
    try:
        values = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError:
        raise DataError(f"The {kind} pixels cannot be read.") from None
    return by_type(values.reshape(size[1], size[0])), (float(spacing[1]), float(spacing[0]))


def refuse_all_but_one_plane(shape: tuple[int, ...], *, components: int) -> None:
    """Returns when a header's axes, columns first, are those of one grey plane of a radiograph's size.

    Raises:
        DataError: they are not.
    """
    if len(shape) < 2 or any(extent != 1 for extent in shape[2:]) or components != 1 or min(shape) < 1:
        raise DataError("The file holds a volume, a series or several channels; a radiograph is one grey plane.")
    refuse_size(int(shape[0]), int(shape[1]))


def _check_metaimage(path: Path) -> None:
    """Returns when ITK may read the header: it is of the plain form, and its pixels lie where they may."""
    head, axes = _head(path), 0
    if head.lower().count(b"elementdatafile") > 1:
        raise DataError("The MetaImage header cannot be read: it names its pixels' place twice.")
    for line in head.split(b"\n"):
        found = re.fullmatch(rb"(\w+)\s*=[ \t]*([^\x00-\x08\x0a-\x1f]+)\r?", line)
        if found is None:
            break
        key, value = found[1], found[2].strip()
        if key == b"NDims":
            axes = int(value) if value.isdigit() else 0
        if key == b"DimSize" and not (2 <= axes <= MOST_AXES and len(value.split()) == axes):
            raise DataError("The MetaImage header's NDims and DimSize do not fit; a radiograph has 2 axes.")
        if key == b"CompressedDataSize" and not (value.isdigit() and int(value) <= path.stat().st_size):
            raise DataError("The MetaImage header claims more compressed bytes than the file has.")
        if key == b"ElementDataFile":  # the last one: what follows are pixels
            if value.upper() != b"LOCAL":
                _beside(path, value)
            return
    raise DataError("The MetaImage header cannot be read: it has no line ElementDataFile after plain ones.")


def _check_nrrd(path: Path) -> None:
    head = _head(path)
    if not head.startswith(b"NRRD"):
        raise DataError("The NRRD header cannot be read: the file does not begin with NRRD.")
    if len(head) == LONGEST_HEADER and b"\n\n" not in head and b"\r\n\r\n" not in head:
        raise DataError(f"The NRRD header is longer than {LONGEST_HEADER} bytes.")
    # Looked for in the whole of it, since where a header ends is the reader's opinion.
    for value in re.findall(rb"(?im)^[ \t]*data[ \t]*file[ \t]*:[ \t]*([^\r\n]*)", head.replace(b"\r", b"\n")):
        _beside(path, value.strip())


def data_file_of(path: Path) -> Path | None:
    """The file beside a header of its own (.mhd, .nhdr) that holds its pixels; None for any other file."""
    if not path.name.lower().endswith(DETACHED):
        return None
    try:
        named = re.search(rb"(?im)^(?:ElementDataFile[ \t]*=|data ?file[ \t]*:)[ \t]*([^\r\n]+)", _head(path))
        return _beside(path, named[1].strip()) if named else None
    except (OSError, DataError):
        return None  # it will be refused when it is read


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LONGEST_HEADER)


def _beside(path: Path, named: bytes) -> Path:
    # A path never comes from a file's content: a header may name its own data file and no other.
    stem = path.name.rpartition(".")[0]
    if not re.fullmatch(rf"{re.escape(stem)}(\.\w+){{1,2}}", named.decode(errors="replace")):
        raise DataError(
            "The header names another file for the pixels; it may name one that lies beside it and is called the same "
            "but for the ending."
        )
    beside = path.with_name(named.decode())
    if beside.is_symlink() or not beside.is_file():
        raise DataError("The data file that the header names is not beside it, or is a link.")
    return beside


def by_type(values: NDArray[Any]) -> NDArray[np.float32]:
    """Stored values as numbers in [0, 1], see `read_volume`.

    Raises:
        DataError: a value is no number.
    """
    if values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        return (values / np.float32(np.iinfo(values.dtype).max)).astype(np.float32)
    if not np.isfinite(values).all():
        raise DataError("The image holds values that are not numbers.")
    low, high = float(values.min()), float(values.max())
    if (low >= 0 and high <= 1) or low == high:
        return np.asarray(np.clip(values, 0, 1), dtype=np.float32)
    return np.asarray((values - low) / (high - low), dtype=np.float32)
