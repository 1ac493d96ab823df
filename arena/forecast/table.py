"""Forecasts of whole windows of bars, made once; a market then reads its forecast by index.

Row t is made at the close of bar t from the bars t - C + 1 .. t and from nothing else. Windows are forecast one after
the other, each in the same chunks, so a window's rows are the same bits whichever windows are beside it.

W windows   T bars   A assets   C context bars   H horizon   Q quantile levels   R rolling contexts of a chunk
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from arena.data.types import CLOSE
from arena.forecast.ensemble import Ensemble
from arena.forecast.returns import return_features
from arena.forecast.stamps import extend_stamps
from arena.forecast.types import Forecast, Forecaster
from arena.market.types import FORECAST_HORIZONS, NUM_FORECAST

CHUNK_SERIES = 4096  # at most so many series (and at least one bar of all assets) are asked for in one call
LAYOUT = "1"  # of a stored table; part of its name
DIGEST_BYTES = 32  # SHA-256 at the end of a stored table

Progress = Callable[[int], None]  # told how many windows are done


class TableRequest(NamedTuple):
    """The bars to forecast, and how; a table depends on it and on the forecaster alone."""

    bars: Tensor  # [W, T, A, 6], NaN where missing
    first: int  # first row wanted, at least context_length - 1; the rows before it are 0
    context_length: int  # bars that the forecaster sees, C
    stamps: Tensor | None = None  # int64 [W, T] or [T], ns of naive local time; None: daily bars on business days
    # Bars forecast, of which the features show some; more cost time in a model that goes step by step.
    horizon: int = max(FORECAST_HORIZONS)

    def window(self, index: int) -> "TableRequest":
        """The same of one window, W = 1."""
        stamps = self.stamps if self.stamps is None or self.stamps.dim() == 1 else self.stamps[index]
        return self._replace(bars=self.bars[index : index + 1], stamps=stamps)


class _Chunk(NamedTuple):
    window: int
    rows: slice  # of R bars
    price: Tensor  # [R, A] their closes
    forecasts: list[Forecast]  # [R, A, H, Q] of each forecaster


def build_table(forecaster: Forecaster, request: TableRequest, progress: Progress | None = None) -> Tensor:
    """What an observation shows of the forecasts (`return_features`): float32 [W, T, A, 4].

    0 also where the forecaster has no opinion (NaN), say on a series with missing bars. ValueError if it has none at
    all on a chunk with whole series: then it is broken.
    """
    return build_tables([forecaster], request, progress)[0]


def build_tables(
    forecasters: Sequence[Forecaster], request: TableRequest, progress: Progress | None = None
) -> list[Tensor]:
    """`build_table` of each forecaster; a forecaster that is also a member of an ensemble among them is asked once."""
    tables = [torch.zeros(*request.bars.shape[:3], NUM_FORECAST) for _ in forecasters]
    for chunk in _chunks(forecasters, request, progress):
        for table, forecast in zip(tables, chunk.forecasts):
            table[chunk.window, chunk.rows] = return_features(forecast, chunk.price)
    return tables


@torch.no_grad()
def _chunks(forecasters: Sequence[Forecaster], request: TableRequest, progress: Progress | None) -> Iterator[_Chunk]:
    bars, first, context_length, stamps, horizon = request
    num_windows, num_bars, num_assets, _ = bars.shape
    if not context_length - 1 <= first < num_bars:
        raise ValueError(
            f"first is {first}, expected {context_length - 1} .. {num_bars - 1}: a row needs {context_length} bars up "
            f"to its own, and the windows hold {num_bars}"
        )
    size = max(1, CHUNK_SERIES // num_assets)
    for window in range(num_windows):
        # Contiguous, because the last bits of a matrix product depend on the strides.
        own = bars[window].to("cpu", torch.float32).contiguous()  # [T, A, 6]
        # Views, so that C bars are kept for each row only while they are being forecast.
        contexts = own.unfold(0, context_length, 1).movedim(-1, 2)  # [T - C + 1, A, C, 6]
        if stamps is not None:
            times = (stamps if stamps.dim() == 1 else stamps[window]).unfold(0, context_length, 1)  # [T - C + 1, C]
        for start in range(first, num_bars, size):
            rows = slice(start, min(start + size, num_bars))
            of_rows = slice(rows.start - context_length + 1, rows.stop - context_length + 1)
            known = None if stamps is None else extend_stamps(times[of_rows], horizon).unsqueeze(1)  # [R, 1, C + H]
            answers: dict[str, Forecast] = {}
            forecasts = [_ask(each, contexts[of_rows], known, horizon, answers) for each in forecasters]
            for forecaster, forecast in zip(forecasters, forecasts):
                if not forecast.quantiles.isfinite().any() and contexts[of_rows, ..., CLOSE].isfinite().all(-1).any():
                    raise ValueError(
                        f"{forecaster.info.name} forecasts no finite price in window {window}, bar {start} on"
                    )
            yield _Chunk(window, rows, own[rows, :, CLOSE], forecasts)
        if progress is not None:
            progress(window + 1)


def _ask(
    forecaster: Forecaster, context: Tensor, stamps: Tensor | None, horizon: int, answers: dict[str, Forecast]
) -> Forecast:
    """The forecast of one context; `answers` holds what it was told already, by fingerprint."""
    known = answers.get(forecaster.info.fingerprint)
    if known is None:
        if isinstance(forecaster, Ensemble):
            known = forecaster.combine([_ask(each, context, stamps, horizon, answers) for each in forecaster.members])
        else:
            known = forecaster.predict(context, stamps, horizon)
        answers[forecaster.info.fingerprint] = known
    return known


class TableStore:
    """Tables in a folder, a file per window, named by the content that its numbers depend on.

    So a window is forecast once, whichever run, unit or script asks first. Files are moved into place when complete;
    one that is damaged is made again. Several processes may share the folder.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def get(self, forecaster: Forecaster, request: TableRequest, progress: Progress | None = None) -> Tensor:
        """`build_table` of what is not there yet; of one window a memory map, which costs no memory to open."""
        tables = []
        for window, (path, own) in enumerate(self._paths(forecaster.info.fingerprint, request)):
            table = _read(path)
            if table is None:
                _write(path, build_table(forecaster, own))
                table = _read(path)
                assert table is not None
            tables.append(table)
            if progress is not None:
                progress(window + 1)
        return tables[0] if len(tables) == 1 else torch.cat(tables)

    def lacks(self, fingerprint: str, request: TableRequest) -> bool:
        """Whether a window of the request has no table yet, or a damaged one."""
        return any(_read(path) is None for path, _ in self._paths(fingerprint, request))

    def put(self, tables: Tensor, fingerprint: str, request: TableRequest) -> None:
        """Keep what `build_table` gave elsewhere: tables [W, T, A, 4] of the windows of the request."""
        for window, (path, _) in enumerate(self._paths(fingerprint, request)):
            _write(path, tables[window : window + 1])

    def _paths(self, fingerprint: str, request: TableRequest) -> Iterator[tuple[Path, TableRequest]]:
        """File and request of each window."""
        settings = f"{LAYOUT} {fingerprint} {request.first} {request.context_length} {request.horizon}"
        for window in range(len(request.bars)):
            own = request.window(window)
            yield self._folder / f"{content_hash(settings, own.bars, own.stamps)}.npy", own


def content_hash(settings: str, *content: Tensor | None) -> str:
    """SHA-256 of settings and tensors, in this order."""
    digest = hashlib.sha256(settings.encode())
    for tensor in content:
        if tensor is not None:
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _read(path: Path) -> Tensor | None:
    """The mapped table; None if there is none, or a damaged one."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size - DIGEST_BYTES
            whole = hashlib.sha256(file.read(max(size, 0)))
            if file.read() != whole.digest():
                return None
        # Copy on write: the tensor may be written to, the file never is.
        return torch.from_numpy(np.load(path, mmap_mode="c"))
    except FileNotFoundError:
        return None


def _write(path: Path, table: Tensor) -> None:
    """NumPy's own format with a checksum behind it, which readers of that format do not look at."""
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with partial.open("w+b") as file:
        np.save(file, table.numpy())
        file.seek(0)
        file.write(hashlib.sha256(file.read()).digest())
    partial.replace(path)
