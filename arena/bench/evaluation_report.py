"""An evaluation as terminal tables and files. Formats, and computes nothing."""

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arena.bench.evaluation import Finished
from arena.bench.machine import provenance
from arena.forecast.evaluate.evaluation import REFERENCE, ConfidenceBin, Evaluation
from arena.forecast.evaluate.significance import Estimate

if TYPE_CHECKING:
    from rich.table import Table

DASH = "\N{EN DASH}"
COLUMNS = (
    *("pinball\n[bps]", "CRPS\n[bps]", "CRPS skill\n[%]", "±", "coverage\nof 80 %", "±", "width\n[%]"),
    *("rank IC\n[%]", "±", "DM p"),
)


def tables(found: Evaluation) -> "list[Table]":
    """One terminal table per horizon."""
    from rich.markup import escape
    from rich.table import Table

    made = []
    for horizon in found.setting.horizons:
        bars = "1 bar" if horizon == 1 else f"{horizon} bars"
        table = Table(title=f"{bars} ahead", title_justify="left", header_style="bold", box=None, pad_edge=False)
        table.add_column("forecaster", no_wrap=True)
        for column in COLUMNS:
            table.add_column(escape(column), justify="right", style="dim" if column == "±" else None)
        for (name, of_horizon), score in found.scores.items():
            if of_horizon != horizon:
                continue
            itself = name == REFERENCE
            skill = (DASH, "") if itself else _plus_minus(score.crps_skill, 1, signed=True)
            table.add_row(
                name,
                f"{sum(score.pinball) / len(score.pinball) * 1e4:.1f}",
                f"{score.crps.value * 1e4:.1f}",
                *skill,
                *_plus_minus(score.coverage[0.8], 1),
                f"{score.width[0.8] * 100:.1f}",
                *_plus_minus(score.rank_ic, 1, signed=True),
                DASH if itself or score.dm_p_value is None else _p_value(score.dm_p_value),
            )
        made.append(table)
    return made


def write_files(folder: Path, finished: Finished) -> list[Path]:
    """evaluation.json with everything, evaluation.csv with a line per forecaster and horizon."""
    folder.mkdir(parents=True, exist_ok=True)
    request, market, found = finished.request, finished.market, finished.scores
    rows = found.rows()
    names = list(dict.fromkeys(name for row in rows for name in row))
    with (folder / "evaluation.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    described = {
        name: {
            "fingerprint": forecaster.info.fingerprint,
            "training_cutoff": forecaster.info.training_cutoff,
            **forecaster.stats()._asdict(),
        }
        for name, forecaster in finished.forecasters.items()
    }
    reliability = [
        {"forecaster": name, "horizon": horizon, **_bin(one)}
        for (name, horizon), score in found.scores.items()
        for one in score.reliability
    ]
    content = {
        "request": asdict(request),
        "data": {"description": market.description, "symbols": market.symbols, "dates": len(found.origins)},
        "forecasters": described,
        "warnings": finished.warnings,
        "scores": rows,
        "direction_reliability": reliability,
        **provenance(request.device),
    }
    text = json.dumps(_json_ready(content), indent=1, allow_nan=False)
    (folder / "evaluation.json").write_text(text + "\n")
    return [folder / "evaluation.json", folder / "evaluation.csv"]


def _bin(found: ConfidenceBin) -> dict[str, Any]:
    share = found.right
    return {
        "confidence": found.confidence,
        "right": share.value,
        "right_low": share.low,
        "right_high": share.high,
        "num_forecasts": found.num_forecasts,
    }


def _json_ready(value: Any) -> Any:
    """JSON has no NaN: null."""
    if isinstance(value, Mapping):
        return {key: _json_ready(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_ready(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plus_minus(estimate: Estimate, digits: int, signed: bool = False) -> tuple[str, str]:
    """In percent: the value, and half the width of its interval."""
    if math.isnan(estimate.value):
        return DASH, ""
    text = f"{estimate.value * 100:{'+' if signed else ''}.{digits}f}"
    if estimate.low is None or estimate.high is None:
        return text, ""
    return text, f"{(estimate.high - estimate.low) * 50:.{digits}f}"


def _p_value(p: float) -> str:
    return "< 0.001" if p < 1e-3 else f"{p:.3f}"
