"""A truth folder: which file is replayed by which function."""

from collections.abc import Callable, Iterator
from pathlib import Path

from tools.verify.physics.checks import Check
from tools.verify.physics.energy import check_energy
from tools.verify.physics.games import check_nash_games
from tools.verify.physics.kyle import check_kyle
from tools.verify.physics.ledger import check_golden_ledger
from tools.verify.physics.metaorders import check_square_root_law
from tools.verify.physics.schedules import check_almgren_chriss, check_obizhaeva_wang
from tools.verify.physics.statistics import check_statistics
from tools.verify.physics.truth import Entry, TruthError, read

REPLAYS: dict[str, Callable[[Entry], Iterator[Check]]] = {
    "a_almgren_chriss.json": check_almgren_chriss,
    "b_obizhaeva_wang.json": check_obizhaeva_wang,
    "c_square_root_law.json": check_square_root_law,
    "d_nash_games.json": check_nash_games,
    "e_kyle.json": check_kyle,
    "f_golden_ledger.json": check_golden_ledger,
    "g_statistics.json": check_statistics,
    "h_energy_limiter_valuation.json": check_energy,
}


def verify_folder(folder: Path) -> Iterator[Check]:
    """Replay every file of `folder`, one check at a time; TruthError (before the first check) if one is unreadable."""
    if not folder.is_dir():
        raise TruthError(f"{folder} is not a folder; expected one with {', '.join(REPLAYS)}")
    truths = {name: read(folder / name) for name in REPLAYS}
    for name, replay_file in REPLAYS.items():
        empty = True
        for check in replay_file(truths[name]):
            empty = False
            yield check
        if empty:
            raise TruthError(f"{folder / name} holds nothing to replay")
