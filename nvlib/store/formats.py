"""Tables and tensors in files that tell their own damage, written and read.

    Parquet         pyarrow checks each page against its CRC; names and lengths, outside pages, are there twice
    safetensors     the SHA-256 of the whole file is in its metadata, computed with zeros in its place

What older versions wrote has neither and is taken if it can be read.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from nvlib.store.checksums import Damage

if TYPE_CHECKING:
    from torch import Tensor

_NAME, _ZEROS = "file_sha256", "0" * 64


def write_table(rows: pd.DataFrame, path: str, **options: object) -> None:
    """Write a table as Parquet whose pages have checksums."""
    rows.to_parquet(path, write_page_checksum=True, **options)


def table(data: bytes) -> pd.DataFrame:
    """Return the table in a Parquet file's bytes.

    Raises:
        Damage: what it says of itself does not agree.
        OSError, ValueError: a page has another checksum, or it is no Parquet.
    """
    from pyarrow.parquet import ParquetFile

    with ParquetFile(io.BytesIO(data), page_checksum_verification=True) as file:
        rows, said, names = file.read(use_threads=False), file.metadata, file.schema.names
        columns = (rows.schema.pandas_metadata or {}).get("columns", [])
        lengths = {len(rows), said.num_rows, sum(said.row_group(i).num_rows for i in range(said.num_row_groups))}
        same = names == rows.column_names and [c["field_name"] for c in columns] in ([], names)
        if not same or len(lengths) > 1 or any(c["name"] not in (None, c["field_name"]) for c in columns):
            raise Damage("its rows or columns are not those that it was written with")
        return rows.to_pandas(use_threads=False)


def write_tensors(tensors: Mapping[str, Tensor], path: str, notes: Mapping[str, str] | None = None) -> None:
    """Write tensors as safetensors, with notes and the hash of it all in the metadata."""
    from safetensors.torch import save

    data = save(dict(tensors), {**(notes or {}), _NAME: _ZEROS})
    at = _place(data, _ZEROS)
    with Path(path).open("wb") as file:
        file.write(data)
        file.seek(at)
        file.write(_hash(data, at).encode())


def checked(data: bytes) -> bytes:
    """Return the bytes of a safetensors file as they are, without torch.

    Raises:
        Damage: its hash or its length is another than it says.
        ValueError, KeyError: it is no safetensors.
    """
    size = int.from_bytes(data[:8], "little")  # of the header, JSON, after which the tensors lie
    header = json.loads(data[8 : 8 + size])
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    if len(data) != 8 + size + max(ends, default=0):
        raise Damage(f"it has {len(data)} bytes, its header says {8 + size + max(ends, default=0)}")
    named = header.get("__metadata__", {}).get(_NAME)
    if named is not None and named != _hash(data, _place(data, named)):
        raise Damage(f"its {len(data)} bytes do not have the hash that it names")
    return data


def _place(data: bytes, named: str) -> int:
    """Return where a file's hash lies in its header, which is compact JSON."""
    entry = f'"{_NAME}":"'.encode()
    return data.find(entry + named.encode()) + len(entry)


def _hash(data: bytes, at: int) -> str:
    """Return the SHA-256 of bytes with zeros in place of the hash that lies there."""
    data = memoryview(data)
    found = hashlib.sha256(data[:at])
    found.update(_ZEROS.encode())
    found.update(data[at + len(_ZEROS) :])
    return found.hexdigest()
