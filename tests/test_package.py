"""The package from outside: what `import arena` costs, offers and says about itself."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import arena

ROOT = Path(__file__).parent.parent
HEAVY = ("torch", "ray", "pandas", "pydantic", "scipy", "matplotlib", "pettingzoo")
MAX_CPU_SECONDS = 0.5  # a requirement


def fresh(program):
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_is_light():
    """The least of three runs, as other processes on the same cores raise what one needs."""
    program = f"""
import sys, time
began = time.process_time()
import arena
print(time.process_time() - began, [name for name in {HEAVY} if name in sys.modules])
"""
    runs = [fresh(program).split(maxsplit=1) for _ in range(3)]
    assert {modules.strip() for _, modules in runs} == {"[]"}
    assert min(float(seconds) for seconds, _ in runs) <= MAX_CPU_SECONDS


@pytest.mark.parametrize("name", arena.__all__)
def test_every_name_is_there_and_in_the_help(name):
    assert getattr(arena, name) is not None
    assert name in dir(arena)
    assert any(line.split(maxsplit=1)[:1] == [name] for line in arena.__doc__.splitlines()), "a line of its own"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'arena' has no attribute 'run_tournamnt'"):
        _ = arena.run_tournamnt
    assert not hasattr(arena, "__wrapped__")


def test_the_package_says_that_it_is_typed():
    assert Path(arena.__file__).with_name("py.typed").is_file()


def test_records_name_the_version_whatever_the_distribution_is_called(monkeypatch):
    from arena.bench.machine import versions
    from arena.tournament.store.run_folder import environment

    monkeypatch.setattr(arena, "__version__", "9.8.7")  # no installed distribution has it
    assert environment()["arena"] == versions()["arena"] == "9.8.7"


@pytest.mark.slow
def test_the_wheel_holds_what_an_installed_package_needs(tmp_path):
    """Built as pip does it: types, weights, templates and configs, and both names of the command."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("market_arena-*.whl")
    wheel = zipfile.ZipFile(path)
    names = set(wheel.namelist())
    in_package = {f"arena/{file.relative_to(ROOT / 'arena').as_posix()}" for file in (ROOT / "arena").rglob("*.*")}
    assert {name for name in in_package if "__pycache__" not in name} <= names
    assert {f"arena/{file.relative_to(ROOT).as_posix()}" for file in (ROOT / "configs").rglob("*.yaml")} <= names
    entries = wheel.read(f"market_arena-{arena.__version__}.dist-info/entry_points.txt").decode()
    assert re.findall(r"^(\S+) = (\S+)$", entries, re.MULTILINE) == [
        ("arena", "arena.cli:main"),
        ("market-arena", "arena.cli:main"),
    ]
    assert {name.split("/")[0] for name in names} == {"arena", f"market_arena-{arena.__version__}.dist-info"}
