"""Columns and records -> Arrow tables of the schemas in `arena.tournament.types`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from arena.tournament.types import SCHEMA

if TYPE_CHECKING:
    import pyarrow as pa


def arrow_schema(columns: Mapping[str, str] = SCHEMA) -> "pa.Schema":
    """The pyarrow schema of result rows (or of another schema of arena.tournament.types); no column may be null."""
    import pyarrow as pa

    return pa.schema([pa.field(name, pa.type_for_alias(kind), nullable=False) for name, kind in columns.items()])


def table_from_columns(columns: Mapping[str, Any], schema: Mapping[str, str] = SCHEMA) -> "pa.Table":
    """Columns of equal length (lists, arrays, CPU tensors) -> table; a missing or unknown column is an error."""
    import pyarrow as pa

    missing, unknown = (
        [name for name in schema if name not in columns],
        [name for name in columns if name not in schema],
    )
    if missing or unknown:
        raise ValueError(f"columns do not fit the schema: missing {missing}, unknown {unknown}")
    return pa.table({name: _array(columns[name], kind) for name, kind in schema.items()}, schema=arrow_schema(schema))


def _array(values: Any, kind: str) -> "pa.Array":
    import pyarrow as pa

    if kind != "string":
        values = np.ascontiguousarray(values, dtype=kind)
    return pa.array(values, type=pa.type_for_alias(kind))
