"""`arena check`: examines an agent before it enters, one line per clause."""

import argparse
from collections.abc import Sequence

from arena.errors import UserError
from arena.exit_codes import FAILED, with_exit_code

SPECS = (
    'a built-in name, "package.module:Class", "path/to/file.py:Class", "policy:FILE", "rllib:CHECKPOINT", "sb3:FILE" '
    'or "onnx:FILE"'
)
SIGNS = {"ok": "ok", "FAILS": "FAILS", "slow": "slow", "not tried": "-"}


@with_exit_code
def check(arguments: Sequence[str]) -> int:
    """Print a finding per clause; 0 if all are kept, 1 if one is broken, 2 if nothing could be examined."""
    options = _parser().parse_args(arguments)
    from arena.agents.examination import examine
    from arena.agents.loading import resolve_spec
    from arena.agents.sandbox.isolation import SUPPORTED, Isolation, IsolationUnavailable, Level, runs_foreign_code
    from arena.config.files import read_value

    level: Level = options.isolate or ("process" if SUPPORTED and runs_foreign_code(options.agent) else "none")
    isolation = Isolation(level, options.decision_seconds, options.startup_seconds, options.memory_mb)
    where = {"none": "in this process", "process": "in a process of its own", "sandbox": "in a sandbox"}[level]
    print(f"checking {options.agent} {where}")
    try:
        params = {name: read_value(value) for name, _, value in (item.partition("=") for item in options.params)}
        findings = examine(resolve_spec(options.agent), params, isolation)
    except (ValueError, IsolationUnavailable) as error:
        raise UserError(str(error)) from error
    for finding in findings:
        print(f"  {SIGNS[finding.verdict]:<6} {finding.clause:<15} {finding.detail}".rstrip())
    broken = [finding.clause for finding in findings if finding.verdict == "FAILS"]
    if broken:
        print(f"{options.agent} breaks the contract: {', '.join(broken)}")
        return FAILED
    print(f"{options.agent} keeps the contract")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("arena check", description="Tests an agent against the contract of a match.")
    parser.add_argument("agent", help=SPECS)
    parser.add_argument("params", nargs="*", metavar="name=value", help="parameters of the agent")
    parser.add_argument(
        "--isolate",
        choices=("none", "process", "sandbox"),
        help="where it runs while it is checked: here, in a process with limits, or in one without network and disk; "
        "left out: here if its code is the package's, else in a process",
    )
    parser.add_argument("--decision-seconds", type=float, default=10.0, help="limit of a decision [s], default 10")
    parser.add_argument("--startup-seconds", type=float, default=60.0, help="limit of making it [s], default 60")
    parser.add_argument("--memory-mb", type=int, default=2048, help="limit of its data [MB], default 2048")
    return parser
