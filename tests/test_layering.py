"""Imports point one way, between packages and inside them, and the core needs torch and numpy only."""

import ast
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "arena"
FILES = sorted(path.relative_to(ROOT) for path in [*PACKAGE.rglob("*.py"), *(ROOT / "tools").rglob("*.py")])
MOST_MODULES = 16  # of a folder, beside __init__

# What a package holds, lowest first: a module imports from its own entry and from those before it.
ORDER = {
    "arena": (
        *("old_names", "errors", "units", "exit_codes", "metrics", "cuda_graph", "data", "market", "config", "monitor"),
        *("cluster", "forecast", "agents", "envs", "tournament", "rl", "bench", "commands", "api", "cli"),
    ),
    "arena.config": ("fields", "schedule", "tournament", "files", "flags", "names"),
    "arena.data": ("types", "features", "synthetic", "bars", "scenarios", "windows"),
    "arena.market": (
        *("types", "storage", "presets", "impact", "accounting", "clearing", "reward", "step", "history"),
        *("observation", "tape", "transition", "validation", "vector"),
    ),
    "arena.forecast": (
        *("types", "stamps", "fingerprint", "call_stats", "request", "returns", "baselines", "forecaster", "models"),
        *("export", "ensemble", "table", "loading", "evaluate", "serving"),
    ),
    "arena.agents": (
        *(
            "types",
            "faults",
            "fake_observation",
            "contracts",
            "loading",
            "numpy_agent",
            "rules",
            "policies",
            "registry",
        ),
        *("sandbox", "examination"),
    ),
    "arena.envs": ("actions", "bounds", "render", "parallel", "single", "rllib", "registration"),
    "arena.rl": ("records", "types", "rewards", "windows", "league", "market_env", "ppo", "rllib", "app"),
    "arena.tournament": (
        *("types", "leaderboard", "wording", "store", "stats", "schedule", "play", "report", "setup", "results", "run"),
    ),
}

# Modules that import torch, numpy and the standard library only when they are imported.
CORE = (
    *(
        "arena.errors",
        "arena.old_names",
        "arena.units",
        "arena.metrics",
        "arena.cuda_graph",
        "arena.data",
        "arena.market",
    ),
    *("arena.forecast", "arena.agents.rules", "arena.agents.types", "arena.agents.policies.network", "arena.rl.ppo"),
)
NOT_CORE = ("arena.forecast.serving.server",)
# Packages of the core that know one another by their records alone.
BY_TYPES = ("arena.data", "arena.market", "arena.forecast", "arena.agents.rules")
NUMERIC = {"torch", "numpy"}
# Of all others, the first entry that fits; application packages may import anything.
ALLOWED = {
    "arena.config": NUMERIC | {"pydantic", "pydantic_core", "yaml"},
    "arena.agents": NUMERIC,
    "arena.envs": NUMERIC | {"gymnasium", "matplotlib", "pettingzoo", "ray"},
    "arena.rl.app": None,
    "arena.rl": NUMERIC | {"gymnasium", "ray", "yaml"},
    "arena.cluster": {"ray"},
    "arena.monitor": {"ray"},
    "arena.forecast": NUMERIC | {"ray"},
}


def module_name(path):
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def within(module, packages):
    """The first of the packages that holds the module; None if none does."""
    return next((package for package in packages if module == package or module.startswith(f"{package}.")), None)


@cache
def imports(path):
    """(module, line, is at import) of every import."""
    tree = ast.parse((ROOT / path).read_text())
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    found = []
    for node in ast.walk(tree):
        at_import = id(node) not in inside
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno, at_import) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            # `from package import module` imports the module.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [(name if is_module(name) else str(node.module), node.lineno, at_import) for name in names]
    return found


def is_module(name):
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or path.is_dir()


def entry(package, module):
    """Which entry of its package a module belongs to."""
    return module.removeprefix(f"{package}.").partition(".")[0]


def test_each_entry_of_the_order_exists_and_each_module_has_one():
    for package, order in ORDER.items():
        folder = ROOT.joinpath(*package.split("."))
        there = {path.stem for path in folder.glob("*.py")} | {
            path.parent.name for path in folder.glob("*/__init__.py")
        }
        assert there - {"__init__"} == set(order), f"{package}: name each module or package of it once, in its place"
    for name in (*CORE, *NOT_CORE, *BY_TYPES, *ALLOWED):
        assert is_module(name), f"{name} does not exist"


def test_imports_follow_the_order():
    wrong = []
    for path in FILES:
        module = module_name(path)
        for name, line, _ in imports(path):
            for package, order in ORDER.items():
                if not (module.startswith(f"{package}.") and name.startswith(f"{package}.")):
                    continue
                own, other = entry(package, module), entry(package, name)
                if order.index(other) > order.index(own):
                    wrong.append(f"{path}:{line} imports {name}, which comes after {package}.{own}")
    assert wrong == []


def test_packages_of_the_core_share_records_only():
    wrong = []
    for path in FILES:
        own = within(module_name(path), BY_TYPES)
        for name, line, _ in imports(path):
            other = within(name, BY_TYPES)
            if own and other not in (None, own) and not name.endswith(".types"):
                wrong.append(f"{path}:{line} imports {name}")
    assert wrong == []


def test_only_the_allowed_libraries_are_imported_with_a_module():
    wrong = []
    for path in FILES:
        module = module_name(path)
        is_core = within(module, CORE) and not within(module, NOT_CORE)
        allowed = NUMERIC if is_core else ALLOWED.get(within(module, ALLOWED) or "")
        for name, line, at_import in imports(path):
            library = name.split(".")[0]
            if allowed is None or not at_import or library == "arena" or library in sys.stdlib_module_names:
                continue
            if library not in allowed:
                wrong.append(f"{path}:{line} imports {library} when it is imported")
    assert wrong == []


def test_no_package_has_more_modules_than_one_can_look_through():
    numbers = Counter(str(path.parent) for path in FILES if path.stem != "__init__")
    assert {folder: number for folder, number in numbers.items() if number > MOST_MODULES} == {}


def test_the_core_runs_without_its_adapters_libraries():
    """A clean process in which these packages cannot be imported steps a market with agents."""
    program = """
import sys
for name in ("ray", "pettingzoo", "gymnasium", "pydantic", "pandas", "pyarrow", "scipy", "yaml", "rich", "matplotlib"):
    sys.modules[name] = None
import torch
from arena.agents.rules.baselines import EqualWeight
from arena.data.synthetic import SyntheticParams, generate
from arena.market.observation import seat_view
from arena.market.presets import preset
from arena.market.vector import VectorMarket
scenarios = generate(SyntheticParams(num_assets=2, num_bars=30), range(2), warmup=25)
market = VectorMarket(preset("sqrt"), scenarios, 1)
weights = EqualWeight().act(seat_view(market.observe(), 0), torch.Generator())
print(float(market.step(weights.unsqueeze(1)).fills.shares.sum()))
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) > 0
