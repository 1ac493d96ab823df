"""Imports point downward only, and the core runs where nothing but torch and numpy is installed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "arena"
FILES = sorted(path.relative_to(ROOT) for path in PACKAGE.rglob("*.py"))

CORE_AGENTS = (
    *("baselines", "fader", "followers", "indicators", "minimum_variance", "network", "oracle", "price_rules"),
    *("rule", "shrinkage", "weights"),
)
CORE_TRAINING = ("gae", "gaussian", "loss", "normalise", "ppo_loop", "rollout")  # of any environment
ENV_ADAPTERS = (  # of PettingZoo and Gymnasium
    *("actions", "parallel", "registration", "rendering", "rllib", "single", "spaces", "windows"),
)
CORE = {
    *(f"arena.data.{p.stem}" for p in (PACKAGE / "data").glob("*.py")),
    *(f"arena.envs.{p.stem}" for p in (PACKAGE / "envs").glob("*.py") if p.stem not in ENV_ADAPTERS),
    *(f"arena.agents.{name}" for name in CORE_AGENTS),
    *(f"arena.forecast.{p.stem}" for p in (PACKAGE / "forecast").glob("*.py") if p.stem != "server"),
    *(f"arena.training.{name}" for name in CORE_TRAINING),
}
ADAPTERS = (
    *(f"arena.envs.{name}" for name in ENV_ADAPTERS),
    *("arena.agents", "arena.cluster", "arena.forecast.server", "arena.monitor", "arena.training"),
)
APPLICATION = (
    *("arena.api", "arena.benchmark", "arena.cli", "arena.commands", "arena.tournament", "arena.trainer"),
    "arena.verification",
)
LAYER_0 = (
    *("arena.config", "arena.config_fields", "arena.config_file", "arena.config_names", "arena.config_schedule"),
    *("arena.cuda_graph", "arena.errors", "arena.metrics"),
)

# Third-party packages that may be imported when the module is (imports inside functions may be more).
NUMERIC = {"torch", "numpy"}
ALLOWED = {
    0: NUMERIC | {"pydantic", "pydantic_core", "yaml"},
    1: NUMERIC,
    2: NUMERIC | {"gymnasium", "matplotlib", "pettingzoo", "ray", "yaml"},
}


def module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer(module: str) -> int:
    if module == "arena" or module in LAYER_0 or module.endswith(".types"):
        return 3 if module.startswith("arena.tournament") else 0
    if module in CORE:
        return 1
    if module.startswith(APPLICATION):
        return 3
    if module.startswith(ADAPTERS):
        return 2
    if module in ("arena.data", "arena.envs", "arena.forecast"):
        return 1
    raise AssertionError(f"{module} is in no layer; add it to this test and say why")


def imports(path: Path, only_at_import: bool) -> list[tuple[str, int]]:
    """(module, line) of every import; `only_at_import` leaves out those inside functions."""
    tree = ast.parse((ROOT / path).read_text())
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    found = []
    for node in ast.walk(tree):
        if only_at_import and id(node) in inside:
            continue
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            # `from package import module` imports the module.
            found += [
                (f"{node.module}.{a.name}" if _is_module(f"{node.module}.{a.name}") else str(node.module), node.lineno)
                for a in node.names
            ]
    return found


def _is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or path.is_dir()


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_point_downward(path):
    module = module_name(path)
    # `arena` is below all modules, which read its version, and offers names from all layers, imported on first use.
    own_layer, own_package = 3 if module == "arena" else layer(module), module.split(".")[1:2]
    for name, line in imports(path, only_at_import=False):
        if not name.startswith("arena"):
            continue
        where = f"{path}:{line} imports {name}"
        assert layer(name) <= own_layer, f"{where}, which lies above it"
        if own_layer <= 1 and layer(name) == 1:
            assert name.split(".")[1:2] == own_package, f"{where}: core packages share only their types.py"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_only_the_allowed_packages_are_imported_with_a_module(path):
    allowed = ALLOWED.get(layer(module_name(path)))
    if path == Path("arena", "__init__.py"):
        allowed = {"gymnasium"}  # if it is installed, to register the market
    if allowed is None:
        return  # the application may import anything
    for name, line in imports(path, only_at_import=True):
        package = name.split(".")[0]
        if package != "arena" and package not in sys.stdlib_module_names:
            assert package in allowed, f"{path}:{line} imports {package} when it is imported"


def test_the_core_runs_without_its_adapters_libraries():
    """A clean process in which these packages cannot be imported steps a market with agents."""
    program = """
import sys
for name in ("ray", "pettingzoo", "gymnasium", "pydantic", "pandas", "pyarrow", "scipy", "yaml", "rich", "matplotlib"):
    sys.modules[name] = None
import torch
from arena.agents.baselines import EqualWeight
from arena.data.synthetic import generate
from arena.data.synthetic_params import SyntheticParams
from arena.envs.observation import seat_view
from arena.envs.presets import preset
from arena.envs.vector import VectorMarket
scenarios = generate(SyntheticParams(num_assets=2, num_bars=30), range(2), warmup=25)
market = VectorMarket(preset("sqrt"), scenarios, 1)
weights = EqualWeight().act(seat_view(market.observe(), 0), torch.Generator())
print(float(market.step(weights.unsqueeze(1)).fills.shares.sum()))
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) > 0
