"""Forecasts of all windows of a tournament, made ahead of it: for forecasters too slow to wait for in a match.

python scripts/build_table.py --forecaster compiled_models/kronos_fp32.pt --data DIR --out tables
python scripts/tournament.py --forecaster compiled_models/kronos_fp32.pt --data DIR --forecast.tables tables

Takes --config and every field of the tournament, since they say what the windows are. What is there already is kept, so
an interrupted run goes on where it was. --ray.address has a cluster make them.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

from arena.config.flags import load_config
from arena.errors import ResumableError, UserError


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forecaster", required=True, metavar="SPEC", help="an artefact, a name, or a+b")
    parser.add_argument("--config", type=Path, help="a tournament's (YAML)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="OHLCV bars; left out: the config's data")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the tables")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    options, flags = parser.parse_known_args()
    if options.data:
        flags += ["--data.source", "bars", "--data.dir", str(options.data)]
    try:
        config = load_config(options.config, flags)

        from rich.progress import Progress

        from arena.cluster.joining import LOCAL, check_answers, job_note
        from arena.forecast.loading import absolute, load_forecaster
        from arena.tournament.play.job import unit_scenarios
        from arena.tournament.play.unit_forecasts import ForecastRules, store_tables
        from arena.tournament.run.table_tasks import spread_tables
        from arena.tournament.setup.plan import make_plan

        if config.ray.address != LOCAL and options.device != "cpu":
            raise UserError(f"--device {options.device}: a cluster makes tables on processors; leave one of both out")
        check_answers(config.ray.address, f"--ray.address {config.ray.address}")
        plan = make_plan(config)
        forecaster = load_forecaster(options.forecaster, options.device)
        batches = {unit.scenarios: unit for unit in plan.units}
        rules = ForecastRules(context_length=config.forecast.context_length, folder=options.out)
        print(
            f"{forecaster.info.name} over {sum(map(len, batches))} windows, {rules.context_length} bars of context each"
        )
        with Progress() as progress:
            task = progress.add_task("windows", total=sum(map(len, batches)))
            if config.ray.address != LOCAL:
                units, spec = list(batches.values()), absolute(options.forecaster)
                spread_tables(plan.job, units, spec, rules, config.ray, partial(progress.advance, task), progress.print)
                batches = {}
            elif note := job_note(LOCAL):
                progress.print(f"note: {note}")
            for unit in batches.values():
                scenarios = unit_scenarios(plan.job, unit)
                store_tables(rules, forecaster, scenarios, lambda _: progress.advance(task))
    except (UserError, ResumableError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
