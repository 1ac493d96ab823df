"""`arena data`, `arena export` and `arena bench`; the other commands have tests of their own."""

import subprocess
import sys

import pyarrow.parquet as pq
import pytest
import torch

from arena.cli import main
from arena.data.bars.readers import load_bars

COMMANDS = ("tournament", "train", "check", "new-agent", "report", "data", "export", "bench", "agents", "forecasters")
COMMANDS += ("check-forecaster",)
HEADER = "date,open,high,low,close,volume"
HELPED = (
    *("agents", "data", "data check", "data import", "export", "bench", "forecasters", "check-forecaster"),
    *("bench env", "bench forecaster", "bench cache", "bench training", "bench cluster"),
    *("bench memory", "bench ranking"),
)


@pytest.fixture
def folder(tmp_path):
    """AAA has four bars, the second without volume; BBB lacks the second; CCC comes late."""
    path = tmp_path / "bars"
    path.mkdir()
    for symbol, days, price in (("AAA", (2, 3, 4, 5), 10.1), ("BBB", (2, 4, 5), 20.7), ("CCC", (3, 4, 5), 0.3)):
        rows = [f"2024-01-0{d},{price},{price + d},{price / 3},{price},{1000.5 * (d != 3)}" for d in days]
        (path / f"{symbol}.csv").write_text("\n".join((HEADER, *rows)) + "\n")
    return path


def refusal(capsys, *arguments):
    """What is said about bad input: one line on stderr, exit code 2."""
    assert main(["data", *map(str, arguments)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    return said


def test_the_usage_lists_every_command(capsys):
    assert main([]) == 0
    said = capsys.readouterr().out
    assert all(f"arena {command} " in said for command in COMMANDS)


@pytest.mark.parametrize("command", HELPED)
def test_help(command, capsys):
    try:
        code = main([*command.split(), "--help"])
    except SystemExit as left:
        code = left.code
    said = capsys.readouterr().out
    assert code == 0
    assert f"usage: arena {command} " in said
    assert "scripts/" not in said, "examples are of the command that was called"


def test_help_does_not_wait_for_torch():
    calls = "\n".join(f"help({[*command.split(), '--help']})" for command in HELPED)
    program = f"""
import sys
from arena.cli import main
def help(arguments):
    try:
        main(arguments)
    except SystemExit:
        pass
{calls}
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_such_benchmark(capsys):
    assert main(["bench", "everything"]) == 2
    assert "arena bench env|forecaster|cache|training" in capsys.readouterr().out


def test_check_prints_the_report(folder, capsys):
    assert main(["data", "check", str(folder), "--fill", "halt"]) == 0
    assert capsys.readouterr().out == load_bars(folder, fill="halt")[1].text() + "\n"


def test_check_prints_every_finding_of_bars_that_it_refuses(folder, capsys):
    assert main(["data", "check", str(folder)]) == 2
    said = capsys.readouterr()
    assert said.out.startswith("error missing_bars: 2\n")
    assert said.err.count("\n") == 1
    assert "BBB.csv line 3: BBB at 2024-01-03" in said.err


@pytest.mark.parametrize("fill", ["halt", "intersect"])
def test_what_is_imported_reads_back_the_same(folder, tmp_path, capsys, fill):
    out = tmp_path / "new" / "bars.parquet"
    assert main(["data", "import", str(folder), "--out", str(out), "--fill", fill]) == 0
    assert capsys.readouterr().out.endswith(f"\nwrote {out}\n")
    expected, _ = load_bars(folder, fill=fill)
    assert not (fill == "halt" and expected.tradable.all()), "halted bars are part of the test"
    found, report = load_bars(out)  # under the strictest policy
    assert not report.errors
    assert found.symbols == expected.symbols
    assert found.dt == expected.dt
    assert all(torch.equal(getattr(found, name), getattr(expected, name)) for name in ("values", "tradable"))
    assert torch.equal(found.timestamps, expected.timestamps)
    table = pq.read_table(out)
    assert table.column_names == ["symbol", "timestamp", "open", "high", "low", "close", "volume", "amount"]
    assert str(table.schema.field("timestamp").type) == "timestamp[us, tz=UTC]"


def test_import_of_chosen_symbols(folder, tmp_path):
    out = tmp_path / "two.parquet"
    chosen = ["--symbols", "CCC", "AAA", "CCC", "--fill", "intersect"]
    assert main(["data", "import", str(folder), "--out", str(out), *chosen]) == 0
    found, expected = (load_bars(p, fill="intersect", symbols=["AAA", "CCC"])[0] for p in (out, folder))
    assert torch.equal(found.values, expected.values)
    assert load_bars(out)[0].symbols == ("AAA", "CCC")


def test_an_adjusted_close(tmp_path, capsys):
    path = tmp_path / "AAA.csv"
    path.write_text(f"{HEADER},adj close\n2024-01-02,10,11,9,10,5,5\n2024-01-03,10,11,9,10,5,5\n")
    assert "adjusted close differs" in refusal(capsys, "check", path)
    out = tmp_path / "out.parquet"
    assert main(["data", "import", str(path), "--adjusted", "--out", str(out)]) == 0
    assert torch.equal(load_bars(out)[0].values, load_bars(path, adjusted=True)[0].values)


def test_bad_input_is_one_sentence(folder, tmp_path, capsys):
    assert "nowhere: found no bars" in refusal(capsys, "check", tmp_path / "nowhere")
    out = tmp_path / "out.parquet"
    assert "no symbol ZZZ among AAA, BBB, CCC" in refusal(
        capsys, "import", folder, "--out", out, "--fill", "halt", "--symbols", "ZZZ"
    )
    assert "BBB.csv line 3" in refusal(capsys, "import", folder, "--out", out)
    assert "expected a name that ends in .parquet" in refusal(capsys, "import", folder, "--out", tmp_path / "out.csv")
    assert "lies where the bars are read from" in refusal(capsys, "import", folder, "--out", folder / "all.parquet")
    assert not out.exists()
    for name, content in (("a.parquet", b"no"), ("b.csv.gz", b"no"), ("c.csv", b"\xff\xfe")):
        (tmp_path / name).write_bytes(content)
        assert name in refusal(capsys, "check", tmp_path / name)
