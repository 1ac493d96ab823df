"""What all benchmarks share: their parser and the file of their numbers."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arena.commands.script_parser import ScriptParser


def benchmark_parser(kind: str, text: str | None, arguments: Sequence[str] | None) -> ScriptParser:
    """The parser of `arena bench KIND` and scripts/benchmark_KIND.py, with the option --json."""
    parser = ScriptParser(text, arguments, f"benchmark_{kind}.py", f"arena bench {kind}")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="write the numbers there")
    return parser


def write_record(path: Path | None, record: Mapping[str, Any]) -> None:
    """Writes the numbers if --json asked for it, and says so."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record, indent=2, default=str) + "\n")
        print(f"wrote {path}")
