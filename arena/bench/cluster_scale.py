"""Measured costs of units, put into the model of a cluster: how far one driver reaches, and a day at internet scale.

Input are the records of `scripts/benchmark_cluster.py` and `scripts/benchmark_ranking.py`.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from arena.bench.cluster_model import Cluster, Costs, simulate
from arena.bench.machine import command
from arena.config.schedule import ScheduleConfig
from arena.tournament.schedule.swiss import swiss_schedule

WORKERS = (1, 2, 8, 32, 128, 512, 1024, 2048, 4096, 8192)
NODE = 8  # workers
WAVES = 20  # units per worker
BOOT_SECONDS, DETECT_SECONDS = 180.0, 10.0  # of a virtual machine with the image; of Ray's health check
FAULT_NODES, FAULT_HOURS, FAULT_SEEDS = 16, 1.0, 3
MARGIN = 0.1  # within which the model's time must be of the measured one
DAY = 86_400.0
INTERNET_ENTRANTS, INTERNET_SCENARIOS, INTERNET_STEPS = 10_000, 1_000, 120
Record = Mapping[str, Any]


def cluster_scale(
    cluster: Record, ranking: Record, workers: Sequence[int] = WORKERS, hours: float = FAULT_HOURS
) -> dict[str, Any]:
    """Everything that docs/internet_scale.md says, and how well the model does."""
    rows = cluster["unit"]["rows"]
    costs = unit_costs(cluster, rows)
    return {
        "validation": validation(cluster),
        "margin": MARGIN,
        "unit": {
            "play_seconds": statistics.mean(costs.play),
            "rows": rows,
            "driver_seconds": costs.submit + costs.collect,
            "dispatch_seconds": costs.dispatch,
            "look_seconds": costs.look,
            "agent_steps": agent_steps(cluster),
        },
        "driver_seconds_per_row": _line(cluster)[1],
        "driver_units_per_second": 1.0 / (costs.submit + costs.collect),
        "workers_of_one_driver": statistics.mean(costs.play) / (costs.submit + costs.collect),
        "reach": [_reach(costs, number) for number in workers],
        "smaller_units": [_smaller(cluster, share) for share in (1, 4, 16, 64)],
        "faults": faults(costs, hours),
        "internet": internet(cluster, ranking),
        "measured": {name: record["command"] for name, record in (("cluster", cluster), ("ranking", ranking))},
        "hardware": cluster["hardware"],
        "versions": cluster["versions"],
        "command": command(),
    }


def merged(parts: Sequence[Record]) -> Record:
    """One record of parts that were measured one by one; what they share is the first's."""
    whole: dict[str, Any] = {}
    for part in parts:
        whole = {**part, **whole}
    return whole


def unit_costs(cluster: Record, rows: int, share: float = 1.0) -> Costs:
    """Of a unit with so many rows that takes a share of the default unit's play; CPU seconds, so of a quiet machine.

    A line through the driver's time at one row and at as many as the default unit has gives that at any number.
    """
    fixed, per_row = _line(cluster)
    send = cluster["smallest_unit"]["driver_cpu_ms"] / 1e3
    smallest = cluster["smallest_unit"]
    dispatch = (smallest["round_trip_ms"]["p50"] - smallest["play_cpu_ms"]) / 1e3 - send
    plays = [play["cpu_seconds"] for found in cluster["runs"]["1"] for play in found["plays"]]
    return Costs(
        play=tuple(share * seconds for seconds in plays),
        submit=send,
        collect=max(fixed + per_row * rows - send, 0.0),
        dispatch=max(dispatch, 0.0),
        look=cluster["wait_cpu_seconds"]["per_in_flight"],
    )


def validation(cluster: Record) -> list[dict[str, float]]:
    """The measured time of each run on Ray beside the model's: with its own plays, and with those of one worker."""
    found = []
    driver = unit_costs(cluster, cluster["unit"]["rows"])
    driver = replace(driver, collect=0.0)  # those runs stored nothing
    alone = [play["seconds"] for run in cluster["runs"]["1"] for play in run["plays"]]
    for workers, runs in cluster["runs"].items():
        if workers == "0":
            continue
        for run in runs:
            in_turn = sorted(run["plays"], key=lambda play: play["begin"])
            own = replace(driver, play=tuple(play["seconds"] for play in in_turn), in_order=True)
            foreign = replace(driver, play=tuple(alone))
            one = Cluster(1, int(workers))
            predicted = simulate(own, one, run["units"]).seconds
            drawn = [simulate(foreign, one, run["units"], seed).seconds for seed in range(100)]
            found.append(
                {
                    "workers": int(workers),
                    "measured_seconds": run["seconds"],
                    "predicted_seconds": predicted,
                    "ratio": predicted / run["seconds"],
                    "ratio_from_one_worker": statistics.mean(drawn) / run["seconds"],
                }
            )
    return found


def faults(costs: Costs, hours: float, nodes: int = FAULT_NODES) -> list[dict[str, Any]]:
    """What cheap machines do to a tournament of so many hours on so many of them."""
    units = round(3600 * hours / statistics.mean(costs.play)) * nodes * NODE
    cases = {
        "nothing happens": Cluster(nodes, NODE),
        "a node is lost every 24 hours of its time": Cluster(
            nodes, NODE, node_hours_between_failures=24.0, boot_seconds=BOOT_SECONDS, detect_seconds=DETECT_SECONDS
        ),
        "a node is lost every hour of its time": Cluster(
            nodes, NODE, node_hours_between_failures=1.0, boot_seconds=BOOT_SECONDS, detect_seconds=DETECT_SECONDS
        ),
        "5 % of the nodes take twice as long": Cluster(nodes, NODE, slow_share=0.05, slow_factor=2.0),
        "no node is there at first": Cluster(nodes, NODE, nodes_at_start=0, boot_seconds=BOOT_SECONDS),
    }
    found = []
    for case, cluster in cases.items():
        runs = [simulate(costs, cluster, units, seed) for seed in range(FAULT_SEEDS)]
        found.append(
            {
                "case": case,
                "workers": nodes * NODE,
                "units": units,
                "seconds": statistics.mean(run.seconds for run in runs),
                "lost_plays": statistics.mean(run.lost for run in runs),
                "finished": sum(run.finished for run in runs) / len(runs),
                "efficiency": statistics.mean(run.worker_share for run in runs),
            }
        )
    return found


def internet(cluster: Record, ranking: Record) -> dict[str, Any]:
    """A swiss tournament of 10,000 entrants in a day, by the real schedule."""
    names = tuple(f"entrant-{number:05d}" for number in range(INTERNET_ENTRANTS))
    config = ScheduleConfig(format="swiss", seats=8, rounds=10)
    schedule = swiss_schedule(names, config, 0, range(2 * INTERNET_SCENARIOS))
    per_round = len(schedule.rounds[0])
    units_a_round = schedule.lineups_per_round * math.ceil(per_round / schedule.batch_size)
    rounds, final = units_a_round * len(schedule.rounds), schedule.num_units - units_a_round * len(schedule.rounds)
    steps = INTERNET_STEPS * schedule.num_seats * (schedule.lineups_per_round * INTERNET_SCENARIOS)
    rows = schedule.num_seats * per_round
    share = rows * INTERNET_STEPS / agent_steps(cluster)
    costs = unit_costs(cluster, rows, share)
    stage = _between_rounds(ranking, units_a_round, rows)
    days = []
    for nodes in (1, 8, 64):
        playing = simulate(costs, Cluster(nodes, NODE), units_a_round).seconds * len(schedule.rounds)
        days.append({"workers": nodes * NODE, "rounds_seconds": playing, "between_seconds": stage["seconds"] * 10})
    unit = ranking["unit_file"]
    return {
        "entrants": INTERNET_ENTRANTS,
        "scenarios": INTERNET_SCENARIOS,
        "units": rounds,
        "final_units": final,
        "rows": rounds * rows,
        "agent_steps": steps,
        "core_seconds": rounds * statistics.mean(costs.play),
        "cores_for_a_billion_steps_a_day": 1e9 / DAY * statistics.mean(_plays(cluster)) / agent_steps(cluster),
        "stored_bytes": rounds * rows * unit["bytes"] / unit["rows"],
        "table_bytes": rounds * rows * unit["memory_bytes"] / unit["rows"],
        "between_rounds": stage,
        "days": days,
        "leaderboard": _extrapolated(ranking, INTERNET_ENTRANTS, INTERNET_SCENARIOS),
        "pairs": INTERNET_ENTRANTS * (INTERNET_ENTRANTS - 1) // 2,
    }


def agent_steps(cluster: Record) -> int:
    """Of a default unit."""
    unit = cluster["unit"]
    return int(unit["scenarios"] * unit["seats"] * unit["steps"])


def _line(cluster: Record) -> tuple[float, float]:
    """(a, b) of the driver's CPU seconds a + b * rows for a unit."""
    sessions = sorted(cluster["sessions"].values(), key=lambda session: session["rows"])
    (few, less), (many, more) = [(s["rows"], s["per_unit"]["driver_cpu_seconds"]) for s in (sessions[0], sessions[-1])]
    slope = (more - less) / (many - few)
    return less - slope * few, slope


def _plays(cluster: Record) -> list[float]:
    return [play["cpu_seconds"] for found in cluster["runs"]["1"] for play in found["plays"]]


def _reach(costs: Costs, workers: int) -> dict[str, float]:
    nodes, each = (1, workers) if workers < NODE else (workers // NODE, NODE)
    found = simulate(costs, Cluster(nodes, each), WAVES * workers)
    return {
        "workers": workers,
        "units_per_second": WAVES * workers / found.seconds,
        "efficiency": found.worker_share,
        "driver_share": found.driver_share,
    }


def _smaller(cluster: Record, share: int) -> dict[str, float]:
    """The same work in units of a share of the scenarios."""
    costs = unit_costs(cluster, cluster["unit"]["rows"] // share, 1.0 / share)
    play = statistics.mean(costs.play)
    return {
        "batch_size": cluster["unit"]["scenarios"] // share,
        "play_seconds": play,
        "ray_share": cluster["smallest_unit"]["ray_cpu_ms"] / 1e3 / play,
        "workers_of_one_driver": play / (costs.submit + costs.collect),
    }


def _between_rounds(ranking: Record, units: int, rows: int) -> dict[str, float]:
    """What the driver does when a round is over: looks for its files, reads them, ranks all rows so far."""
    unit, largest = ranking["unit_file"], ranking["fields"][-1]
    per_row = unit["rows"]
    files = units * (unit["check_seconds"] + unit["read_seconds"]) * rows / per_row
    rank = 5.5 * units * rows * largest["growth_seconds"] / largest["rows"]  # rounds so far, on average of ten
    return {"files": units, "files_seconds": files, "standings_seconds": rank, "seconds": files + rank}


def _extrapolated(ranking: Record, entrants: int, scenarios: int) -> dict[str, float]:
    """The leaderboard's CPU time: in entrants by the measured exponent, in scenarios in proportion."""
    largest, power = ranking["fields"][-1], ranking["exponents"]["leaderboard_seconds"]
    ratio = entrants / largest["entrants"]
    longer: Sequence[float] = (ratio**power, scenarios / ranking["scenarios"])
    return {
        "measured_entrants": largest["entrants"],
        "measured_seconds": largest["leaderboard_seconds"],
        "exponent": power,
        "seconds": largest["leaderboard_seconds"] * math.prod(longer),
    }
