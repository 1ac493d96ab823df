"""Every number of docs/sizing.md and docs/internet_scale.md is that of a record in benchmarks/, as rounded here."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SIZING, INTERNET = "sizing.md", "internet_scale.md"
MB, GB = 1e6, 1e9


def record(name):
    return json.loads((ROOT / "benchmarks" / f"{name}.json").read_text())


def text(page):
    """Of a page, with the breaks of its lines as blanks."""
    return re.sub(r"\s+", " ", (ROOT / "docs" / page).read_text(encoding="utf-8"))


def three(value):
    """Three significant digits, with commas."""
    if value >= 1000:
        digits = len(str(int(value)))
        return f"{round(value, 3 - digits):,.0f}"
    return f"{value:.3g}"


def size(bytes_):
    return (
        f"{bytes_:,.0f} B" if bytes_ < 1000 else f"{bytes_ / 1e3:,.1f} kB" if bytes_ < MB else f"{bytes_ / MB:,.1f} MB"
    )


def duration(seconds):
    if seconds < 120:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def paths():
    """Steps per CPU-second of each way to use the market."""
    env, training, cluster = record("env_cpu_10x4"), record("training_cpu"), record("cluster_scale")
    steps = cluster["unit"]["agent_steps"] / cluster["unit"]["play_seconds"]
    return [
        f"| {three(record('pettingzoo_cpu_10x4_eager')['market_steps_per_cpu_second'])}; compiled "
        f"{three(record('pettingzoo_cpu_10x4')['market_steps_per_cpu_second'])} |",
        f"| {three(env['market_steps_per_cpu_second'])} |",
        f"| {three(training['stock']['env_steps_per_cpu_second'])} trained |",
        f"| {three(training['tensor']['env_steps_per_cpu_second'])} trained |",
        f"| {three(steps)} agent steps |",
    ]


def markets():
    """A row per size of market."""
    for market in record("memory_cpu")["markets"]:
        parts = ("state_bytes", "displayed_history_bytes", "observation_bytes", "peak_bytes")
        cells = [size(market[part]) for part in parts]
        fit = int(8 * GB // market["peak_bytes"])
        yield (
            f"| {market['num_agents']} x {market['num_assets']} | {market['history_length'] or 'closes'} | "
            f"{' | '.join(cells)} | {three(fit)} |"
        )


def gpu():
    """A row per measurement on a GPU, and what it is worth in cores."""
    for name in ("env_h200_10x4", "env_h200_10x4_b65536", "env_h200_4x100"):
        env = record(name)
        yield (
            f"| {env['num_envs']:,} markets of {env['num_agents']} x {env['num_assets']} | "
            f"{three(env['market_steps_per_second'])} market steps | {size(env['peak_memory_bytes'])} | `{name}.json` |"
        )
    training = record("training_h200")
    markets = f"{training['num_envs']:,} markets of {training['num_agents']} x {training['num_assets']}"
    rate, memory = three(training["env_steps_per_second"]), size(training["peak_memory_bytes"])
    yield f"| PPO, {markets} | {rate} trained | {memory} | `training_h200.json` |"
    core = record("env_cpu_10x4")["market_steps_per_cpu_second"]
    few, many = (record(f"env_h200_10x4{b}")["market_steps_per_second"] / core for b in ("", "_b65536"))
    yield f"worth about {few:.0f} of the CPU cores above at 4,096 markets of 10 x 4 and {many:.0f} at 65,536"


def tournament():
    """What a unit, a worker and the driver take."""
    cluster, scale = record("cluster_cpu"), record("cluster_scale")
    run = cluster["runs"]["1"][0]
    quiet = {int(workers): run for workers, (run,) in record("cluster_quiet_cpu")["runs"].items()}
    rows_1 = record("cluster_sessions_cpu")["sessions"]["rows_1"]["per_unit"]
    smallest = record("cluster_smallest_cpu")["smallest_unit"]
    tables = max(play["table_bytes"] for play in run["plays"])
    return [
        f"a unit takes {scale['unit']['play_seconds']:.1f} s of one core",
        f"{size(cluster['unit']['stored_bytes'])} on disk",
        f"{size(tables)} in the object store",
        f"{run['process_bytes']['worker'] / MB:,.0f} MB for a worker",
        f"{run['process_bytes']['driver'] / MB:,.0f} MB for the driver",
        f"{rows_1['driver_bytes']:,.0f} bytes",
        f"{run['start_cpu_seconds']:.0f} s of CPU",
        *(f"{run['overhead']:.1%} with {workers}" for workers, (run, *_) in cluster["runs"].items() if workers != "0"),
        f"{run['seconds'] / run['units']:.0f} s by the clock",
        ", ".join(f"{quiet[n]['overhead']:.1%} with {n} worker{'s'[: n > 1]}" for n in (1, 2)),
        f"{quiet[1]['seconds']:.0f} and {quiet[2]['seconds']:.0f} s)",
        " / ".join(f"{quiet[n]['cpu_seconds_per_unit']:.2f}" for n in (0, 1, 2)) + " s of CPU",
        f"{smallest['ray_cpu_ms']:.0f} ms of CPU",
        f"{smallest['round_trip_ms']['p50']:.0f} ms",
        f"{run['idle_cpu_per_second']:.1%} of a core",
    ]


def reach():
    for row in record("cluster_scale")["reach"]:
        shares = f"{row['efficiency']:.0%} | {row['driver_share']:.0%}"
        yield f"| {row['workers']:,} | {row['units_per_second']:.3g} | {shares} |"


def smaller():
    for row in record("cluster_scale")["smaller_units"]:
        yield (
            f"| {row['batch_size']} | {row['play_seconds']:.2g} | {row['ray_share']:.1%} | "
            f"{three(row['workers_of_one_driver'])} |"
        )


def fault_cases():
    for row in record("cluster_scale")["faults"]:
        yield f"| {row['case']} | {row['seconds'] / 60:.0f} min | {row['lost_plays']:.0f} | {row['efficiency']:.0%} |"


def validated():
    for row in record("cluster_scale")["validation"]:
        seconds = f"{row['measured_seconds']:.1f} | {row['predicted_seconds']:.1f}"
        yield f"| {row['workers']} | {seconds} | {row['ratio']:.3f} | {row['ratio_from_one_worker']:.2f} |"


def fields():
    for row in record("ranking_cpu")["fields"]:
        yield (
            f"| {row['entrants']} | {row['rows']:,} | {row['lineups_seconds']:.2g} | {row['growth_seconds']:.2g} | "
            f"{row['leaderboard_seconds']:.3g} | {row['peak_memory_bytes'] / MB:,.0f} |"
        )


def field_limits():
    """Of everything that is all against all, from the two largest fields."""
    ranking = record("ranking_cpu")
    less, more = ranking["fields"][-2:]
    pairs = more["entrants"] ** 2 - less["entrants"] ** 2
    memory = (more["peak_memory_bytes"] - less["peak_memory_bytes"]) / pairs * 10_000**2
    return [
        f"{more['lineups_seconds']:.0f} s at {more['entrants']} entrants, with the power "
        f"{ranking['exponents']['lineups_seconds']:.1f}",
        f"{more['leaderboard_seconds']:.0f} s at {more['entrants']}, with the power "
        f"{ranking['exponents']['leaderboard_seconds']:.1f}",
        f"{round(memory / GB, -1):.0f} GB",
    ]


def arithmetic():
    scale, ranking = record("cluster_scale"), record("ranking_cpu")
    day = scale["internet"]
    stage = day["between_rounds"]
    return [
        f"{day['cores_for_a_billion_steps_a_day']:.2f} of a core",
        f"{day['units']:,} units",
        f"{day['agent_steps'] / 1e9:.1f} billion agent steps",
        f"{day['core_seconds'] / 3600:.0f} core-hours",
        f"{day['stored_bytes'] / MB:,.0f} MB",
        f"{day['table_bytes'] / GB:.1f} GB",
        f"{duration(stage['files_seconds'])} for {stage['files']:,} files",
        f"{duration(stage['standings_seconds'])} for the standings",
        *(
            f"{row['workers']} workers {duration(row['rounds_seconds'] + row['between_seconds'])}"
            for row in day["days"]
        ),
        f"{duration(day['leaderboard']['seconds'])} of one core",
        f"{scale['driver_units_per_second']:.0f} units a second",
        f"{three(scale['workers_of_one_driver'])} workers",
        f"{ranking['unit_file']['write_seconds'] * 1e3:.1f} ms to write",
        f"{ranking['unit_file']['check_seconds'] * 1e3:.1f} ms to check",
        f"{ranking['unit_file']['read_seconds'] * 1e3:.1f} ms to read",
    ]


CLAIMS = [
    *((SIZING, claims) for claims in (paths, markets, gpu, tournament)),
    *((INTERNET, claims) for claims in (reach, smaller, fault_cases, validated, fields, field_limits, arithmetic)),
]


@pytest.mark.parametrize(("page", "claims"), CLAIMS, ids=lambda value: getattr(value, "__name__", ""))
def test_the_page_says_what_was_measured(page, claims):
    said = text(page)
    assert [claim for claim in claims() if claim not in said] == []


@pytest.mark.parametrize("page", [SIZING, INTERNET])
def test_records_that_a_page_names_exist_and_the_readme_has_the_page(page):
    said = text(page)
    named = re.findall(r"`([\w-]+\.json)`", said)
    assert named
    assert [name for name in named if not (ROOT / "benchmarks" / name).is_file()] == []
    links = re.findall(r"\]\(([\w./-]+)\)", said)
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []
    assert f"](docs/{page})" in (ROOT / "README.md").read_text(encoding="utf-8")
