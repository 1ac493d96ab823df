"""RLlib's undocumented names are in one file."""

import ast
from pathlib import Path

import arena

RL = Path(arena.__file__).parent / "rl"
DOCUMENTED = {
    *("ray.rllib.algorithms.algorithm", "ray.rllib.algorithms.algorithm_config", "ray.rllib.algorithms.ppo"),
    *("ray.rllib.algorithms.sac", "ray.rllib.core.columns", "ray.rllib.core.learner.learner"),
    *("ray.rllib.core.rl_module.rl_module", "ray.rllib.core.rl_module.torch", "ray.rllib.env.env_runner"),
    *("ray.tune.registry", "ray.tune.experiment"),
}


def test_other_modules_import_documented_names_only():
    wrong = []
    for path in RL.rglob("*.py"):
        if path.name == "compat.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ImportFrom) or not str(node.module).startswith(("ray.rllib", "ray.tune")):
                continue
            if node.module not in DOCUMENTED or any(alias.name.startswith("_") for alias in node.names):
                wrong.append(f"{path.relative_to(RL)}:{node.lineno} imports from {node.module}")
    assert wrong == [], "import these from arena.rl.rllib.compat, and say there what for"
