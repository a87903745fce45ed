"""The XML files of VTK: arrays in base64 behind a description of what they are."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[np.generic]]

_TYPES = {"f8": "Float64", "i8": "Int64", "i4": "Int32", "u1": "UInt8"}


class Document:
    """One piece of one data set, that is written once.

    The arrays stand in one block at the end (``AppendedData``), each as its number of bytes (UInt64) and its bytes, in
    base64, so that the whole is XML that any parser takes; an ``offset`` says where in it.
    """

    def __init__(self, kind: str, **extent: str) -> None:
        self._kind = kind
        self._extent = _attributes(extent)
        self._piece = ""
        self._lines: list[str] = []
        self._blocks: list[bytes] = []
        self._offset = 0

    def piece(self, **attributes: object) -> None:
        """Say how large the piece is."""
        self._piece = _attributes(attributes)

    def section(self, name: str, arrays: Arrays, **attributes: object) -> None:
        """Add a group of arrays, such as ``PointData``.

        Args:
            name: Of the element.
            arrays: Name → (K,) or (K, C) array, C numbers for each of K points or cells.
            attributes: Of the element.
        """
        lines = [self._array(each, array) for each, array in arrays.items()]
        self._lines += [f"<{name}{_attributes(attributes)}>", *lines, f"</{name}>"]

    def content(self) -> bytes:
        """The bytes of the file."""
        head = f"""<?xml version="1.0"?>
<VTKFile type="{self._kind}" version="1.0" byte_order="LittleEndian" header_type="UInt64">
<{self._kind}{self._extent}>
<Piece{self._piece}>
"""
        tail = f'\n</Piece>\n</{self._kind}>\n<AppendedData encoding="base64">\n_'
        end = "\n</AppendedData>\n</VTKFile>\n"
        return b"".join([head.encode(), "\n".join(self._lines).encode(), tail.encode(), *self._blocks, end.encode()])

    def _array(self, name: str, array: NDArray[np.generic]) -> str:
        kind = _TYPES[array.dtype.str[1:]]
        values = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()
        # the header is a part of what is encoded, as it is in VTK where nothing is compressed
        block = base64.b64encode(len(values).to_bytes(8, "little") + values)
        what = {"type": kind, "Name": name, "NumberOfComponents": 1 if array.ndim == 1 else array.shape[1]}
        line = f"<DataArray{_attributes({**what, 'format': 'appended', 'offset': self._offset})}/>"
        self._blocks.append(block)
        self._offset += len(block)
        return line


def _attributes(values: Mapping[str, object]) -> str:
    return "".join(f" {name}={quoteattr(str(value))}" for name, value in values.items())
