"""Bars from the files and DataFrames of a user: read, checked, put on one calendar."""

from arena.data.bars.findings import BarsError as BarsError
from arena.data.bars.readers import load_bars as load_bars
