"""`arena check-forecaster`: tests a forecaster against the contract of arena.forecast.evaluate.contracts."""

import argparse
import sys
from collections.abc import Sequence

BROKEN, BAD_INPUT = 1, 2  # exit codes
SPECS = (
    "persistence, drift, seasonal_naive, embedded, ensemble, the path of a .pt or .pt2 file, or several of these "
    "joined by +"
)


def check_forecaster(arguments: Sequence[str]) -> int:
    """Print the first clause that the forecaster breaks; 0 if none, 1 if one, 2 if it cannot be loaded."""
    options = _parser().parse_args(arguments)
    from arena.forecast.evaluate import contracts
    from arena.forecast.loading import load_forecaster

    try:
        forecaster = load_forecaster(options.forecaster, options.device)
    except (ValueError, RuntimeError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return BAD_INPUT
    info = forecaster.info
    longest = "any horizon" if info.max_horizon is None else f"up to {info.max_horizon} bars ahead"
    print(f"checking {info.name}: at least {info.min_context} bars of context, {longest}")
    try:
        contracts.check_forecaster(forecaster)
    except contracts.ContractViolation as violation:
        print(violation)
        return BROKEN
    print(f"{info.name} keeps the contract")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "arena check-forecaster", description="Tests a forecaster against the contract of every forecaster."
    )
    parser.add_argument("forecaster", help=SPECS)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N; default cpu")
    return parser
