"""Result rows one by one, as tests write them."""

from collections.abc import Iterable

import pyarrow as pa

from arena.tournament.store.arrow import table_from_columns
from arena.tournament.types import SCHEMA, ResultRow


def table_from_rows(rows: Iterable[ResultRow]) -> pa.Table:
    """The table of these rows."""
    listed = list(rows)
    return table_from_columns({name: [row[index] for row in listed] for index, name in enumerate(SCHEMA)})
