"""One number for a set of results: rows in canonical order, bytes in canonical form."""

import hashlib
import struct
from typing import TYPE_CHECKING

import numpy as np

from arena.tournament.types import KEY, NOT_IN_DIGEST, SCHEMA

if TYPE_CHECKING:
    import pyarrow as pa


def sort_rows(table: "pa.Table") -> "pa.Table":
    """Rows in the order of KEY; ValueError if a row stands twice."""
    columns = [table[name].to_numpy() for name in KEY]
    order = np.lexsort(columns[::-1])
    keys = np.stack(columns, 1)[order]
    repeated = (keys[1:] == keys[:-1]).all(1)
    if repeated.any():
        row = dict(zip(KEY, keys[1:][repeated][0].tolist()))
        raise ValueError(f"the same result stands twice: {row}")
    return table.take(order)


def digest(table: "pa.Table") -> str:
    """SHA-256 over the rows sorted by KEY, without NOT_IN_DIGEST: equal digests mean equal results.

    Bytes are defined here and not by a file format: per column its name and kind, then int64 or float64 little-endian
    (one NaN, no negative zero), bool as one byte, strings as UTF-8 with their length in front.
    """
    table = sort_rows(table.select(list(SCHEMA)))
    sha = hashlib.sha256(struct.pack("<q", table.num_rows))
    for name, kind in SCHEMA.items():
        if name in NOT_IN_DIGEST:
            continue
        sha.update(f"{name}:{kind};".encode())
        if kind == "string":
            for text in table[name].to_pylist():
                raw = text.encode()
                sha.update(struct.pack("<q", len(raw)) + raw)
        else:
            values = table[name].to_numpy()
            if kind == "float64":
                values = np.where(np.isnan(values), np.nan, values + 0.0)  # -0.0 + 0.0 is +0.0
            sha.update(values.astype({"int64": "<i8", "float64": "<f8", "bool": "u1"}[kind]).tobytes())
    return sha.hexdigest()
