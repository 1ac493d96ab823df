"""The core on a GPU: the numbers of the CPU, the same laws, and nothing that waits or comes back unasked."""

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils._pytree import tree_leaves

from arena.agents.policies.network import AssetPolicy, MlpPolicy
from arena.data.synthetic.market import generate
from arena.data.synthetic.params import SyntheticParams
from arena.forecast.export.artifact import load_artifact
from arena.forecast.export.captured import CapturedModel
from arena.forecast.export.exporter import export, script_module
from arena.forecast.export.parity import errors, run_here, sample_cases
from arena.forecast.export.sources import open_kronos, open_toto
from arena.forecast.loading import load_forecaster
from arena.forecast.table import TableRequest, build_table
from arena.market.presets import PRESETS, preset
from arena.market.vector import VectorMarket
from arena.rl.market_env import EnvParams, MarketEnv
from arena.rl.ppo.batch import make_batch
from arena.rl.ppo.rollout import allocate, begin, collect
from arena.rl.windows import SyntheticSource

pytestmark = pytest.mark.gpu

GPU = "cuda"
GOLDEN = Path(__file__).parent / "golden"
# Two libraries' float64 functions and orders of summation, over an episode whose steps build on each other.
SAME_FLOAT64 = {"rtol": 1e-9, "atol": 1e-6}  # of shares and money up to 1e8
SEEN = {"rtol": 1e-9, "atol": 1e-7}  # observations: the time left is a quotient of whole numbers, which is float32
SAME_FLOAT32 = {"rtol": 2e-4, "atol": 2e-5}
NUM_ASSETS, WARMUP = 5, 30


def windows(num_assets=NUM_ASSETS, num_windows=16, num_bars=60):
    return generate(SyntheticParams(num_assets=num_assets, num_bars=num_bars), range(num_windows), warmup=WARMUP)


def market(device, rules="sqrt", **settings):
    """Sixteen markets of six seats that may borrow so much that margin is called soon."""
    scenarios = windows()
    table = 0.01 * torch.randn(*scenarios.bars.shape[:3], 4, generator=torch.Generator().manual_seed(3))
    settings = {"forecast": table, "history_length": 20} | settings
    params = replace(preset(rules), max_gross_leverage=3.5)
    return VectorMarket(params, scenarios, 6, device=device, **settings)


def weights(like, seed=0, gross=6.0):
    """Different targets every step, far beyond the leverage that is allowed, a few of them NaN."""
    shape = (like.episode_length, like.num_markets, like.num_agents, like.num_assets)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(shape, generator=generator, dtype=torch.float64) * gross / like.num_assets
    return drawn.masked_fill(torch.rand(shape, generator=generator) < 0.02, torch.nan)


def tensors(*records):
    return [leaf for leaf in tree_leaves(records) if isinstance(leaf, torch.Tensor)]


def assert_same_step(ours, theirs, target):
    """Step both markets and compare all that comes of it, in float64."""
    found, expected = ours.step(target), theirs.step(target)
    for field in ("obs", "final_obs"):
        assert_close(getattr(found, field), getattr(expected, field), **SEEN)
    for field in ("reward", "terminated", "truncated", "fills"):
        assert_close(getattr(found, field), getattr(expected, field), **SAME_FLOAT64)
    assert_close(ours.state, theirs.state, **SAME_FLOAT64)
    assert_close(ours.observe(), theirs.observe(), **SEEN)


def assert_close(found, expected, **tolerance):
    """All fields of two records; the first is on the GPU."""
    for ours, theirs in zip(tensors(found), tensors(expected), strict=True):
        assert ours.is_cuda
        torch.testing.assert_close(ours.cpu(), theirs.cpu(), equal_nan=True, **tolerance)


@contextmanager
def no_waiting():
    """Whatever makes the processor wait for the GPU is an error."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("batch_last", [False, True])
@pytest.mark.parametrize("rules", PRESETS)
def test_an_episode_is_that_of_the_cpu(rules, batch_last):
    ours, theirs = (market(device, rules, batch_last=batch_last) for device in (GPU, "cpu"))
    called = 0
    for target in weights(theirs):
        assert_same_step(ours, theirs, target)
        called += int(theirs.state.margin_call.sum())
    assert called or rules == "frictionless"  # the margin rules took part


def test_laws_hold_in_float64():
    """Shares and cash come from somewhere; outsiders take no more than the cap; the price is one for all."""
    ours = market(GPU)
    cap = ours.params.participation_cap
    for target in weights(ours, seed=1):
        before, quotes = ours.state, ours.quotes
        fills, after = ours.step(target).fills, ours.state
        torch.testing.assert_close(after.position, before.position + fills.shares, rtol=0, atol=0)
        torch.testing.assert_close(fills.net_flow, fills.shares.sum(1), **SAME_FLOAT64)
        assert (fills.net_flow.abs() <= cap * quotes.bar_volume * (1 + 1e-12)).all()
        assert (fills.shares * fills.orders >= 0).all()
        assert (fills.shares.abs() <= fills.orders.abs() * (1 + 1e-12)).all()
        paid = (fills.shares * fills.price.unsqueeze(1)).sum(-1) + fills.cost + fills.penalty - fills.financing
        torch.testing.assert_close(after.cash, before.cash - paid, rtol=1e-12, atol=1e-6)
        assert (after.peak_nav >= after.nav).all()


def test_a_compiled_step_is_the_eager_one():
    ours, theirs = (market(GPU, compile=flag) for flag in (True, False))
    for target in weights(theirs, seed=2):
        assert_same_step(ours, theirs, target)


@pytest.mark.parametrize("settings", [{}, {"history_length": 0}, {"forecast": None, "batch_last": True}])
def test_a_captured_step_has_the_bits_of_the_plain_one(settings):
    """Over three episodes of windows drawn at random, and what was handed out stays what it was."""
    drawn = {"num_markets": 24, "auto_reset": True}
    ours, theirs = (
        market(GPU, capture=flag, generator=torch.Generator().manual_seed(5), **drawn, **settings)
        for flag in (True, False)
    )
    kept = []
    for target in weights(theirs).repeat(3, 1, 1, 1):
        found, expected = ours.step(target), theirs.step(target)
        records = [found, ours.state, ours.quotes], [expected, theirs.state, theirs.quotes]
        assert_close(*records, rtol=0, atol=0)
        assert_close(ours.observe(), theirs.observe(), rtol=0, atol=0)
        kept.append(records)
    for records in kept:
        assert_close(*records, rtol=0, atol=0)


@pytest.mark.parametrize("compile", [False, True])
def test_a_step_stays_on_the_gpu_and_waits_for_nothing(compile):
    ours = market(GPU, compile=compile)
    target = ours.arrange(weights(ours)[0].to(GPU))
    for _ in range(3):
        ours.step(target)  # compiles
    with no_waiting():
        steps = [ours.step(target) for _ in range(3)]
    for tensor in tensors(steps, ours.state, ours.quotes, ours.observe()):
        assert tensor.is_cuda


def market_env(compile=False):
    params = EnvParams(num_markets=64, num_learners=3, num_windows=8)
    source = SyntheticSource(SyntheticParams(num_assets=NUM_ASSETS, num_bars=60), WARMUP)
    return MarketEnv(params, preset("sqrt"), source, compile=compile, device=GPU)


@pytest.mark.parametrize("kind", [MlpPolicy, AssetPolicy])
def test_a_rollout_waits_for_nothing_and_its_advantages_are_those_of_the_cpu(kind):
    env = market_env()
    size = (env.obs_dim, env.num_assets) if kind is MlpPolicy else (env.num_assets,)
    network = kind(*size, width=32).to(GPU)
    generator = torch.Generator(GPU).manual_seed(0)
    stream = begin(env)
    out = allocate(env, stream, 8)
    collect(env, network, stream, out, generator)  # lets libraries make their workspaces
    stream = begin(env)
    with no_waiting():
        rollout, _ = collect(env, network, stream, out, generator)
    assert all(tensor.is_cuda for tensor in tensors(rollout))
    assert rollout.reward.std() > 0
    ours = make_batch(network, rollout, 0.99, 0.95)
    on_cpu = type(rollout)(*(field.cpu() if isinstance(field, torch.Tensor) else field for field in rollout))
    assert_close(ours, make_batch(network.cpu(), on_cpu, 0.99, 0.95), **SAME_FLOAT32)


def test_training_is_the_same_bits_each_time_and_learns():
    ray = pytest.importorskip("ray")
    from arena.rl.rllib.config_file import make_rllib_config

    synthetic = {"num_assets": NUM_ASSETS, "num_bars": 60}
    sections = {
        "algorithm": "TensorPPO",
        "environment": {
            "env": "arena_tensor",
            "env_config": {"num_agents": 3, "synthetic": synthetic, "num_windows": 8, "warmup": WARMUP},
        },
        "network": {"kind": "mlp", "width": 32},
        "env_runners": {"num_envs_per_env_runner": 64, "rollout_fragment_length": 30},
        "training": {"lr": 3e-3, "resident": True},
        "learners": {"num_gpus_per_learner": 1},
        "debugging": {"seed": 0},
    }

    def trained():
        algorithm = make_rllib_config(sections).build_algo()
        returns = [algorithm.train()["env_runners"]["episode_return_mean"] for _ in range(20)]
        (network,) = algorithm.learner_group.foreach_learner(lambda learner: learner.module["shared"].network)
        algorithm.stop()
        return network.get(), returns

    ray.init(address="local", num_gpus=1, include_dashboard=False, log_to_driver=False)
    try:
        (first, returns), (second, _) = trained(), trained()
    finally:
        ray.shutdown()
    for name, tensor in first.state_dict().items():
        assert tensor.is_cuda
        assert torch.equal(tensor, second.state_dict()[name]), name
    assert returns[-1] > returns[0]  # random trading costs


def toto():
    return open_toto(GOLDEN / "toto2_tiny")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_file_of_the_cpu_answers_alike_on_the_gpu(dtype, tmp_path):
    source = toto()
    manifest = export(source.module, tmp_path / "toto.pt", source.manifest, 96, 16, dtype)
    cases = [sample_cases(96, 16, 1, device) for device in ("cpu", GPU)]
    answers = [
        run_here(load_artifact(tmp_path / "toto.pt", device)[0], each) for device, each in zip(("cpu", GPU), cases)
    ]
    assert all(tensor.is_cuda for tensor in tensors(answers[1]))
    moved = [(quantiles.cpu(), samples.cpu()) for quantiles, samples in answers[1]]
    # bfloat16: as far as it is from float32 already.
    limit = 1e-4 if dtype == "float32" else 2 * manifest["error_vs_float32"][dtype]["max"]
    assert float(errors(moved, answers[0], cases[0]).max()) < limit


@pytest.mark.parametrize("kind", ["kronos", "toto1"])
def test_models_that_draw_paths_do_so_on_the_gpu_from_their_seed(kind):
    folder = GOLDEN / f"{kind}_tiny"
    source = open_toto(folder) if kind == "toto1" else open_kronos(folder / "predictor", folder / "tokenizer", 32)
    model = script_module(source.module.to(GPU))
    *case, _ = sample_cases(24, 6, 64, GPU)[1]
    for _ in range(4):
        model(*case, 0)  # TorchScript settles on its kernels
    (quantiles, samples), (again, _), (other, _) = (model(*case, seed) for seed in (0, 0, 1))
    assert quantiles.is_cuda
    assert torch.equal(quantiles.nan_to_num(), again.nan_to_num())
    assert not torch.equal(quantiles.nan_to_num(), other.nan_to_num())
    assert samples.std(1).nan_to_num().max() > 0
    # As far from what the CPU draws as two seeds of the CPU are from each other, if not much farther.
    on_cpu = script_module(source.module.cpu())
    here = [argument.cpu() if isinstance(argument, torch.Tensor) else argument for argument in case]
    first, second = (on_cpu(*here, seed)[0] for seed in (0, 1))
    unit = (first - second).abs().nanmean()
    assert (quantiles.cpu() - first).abs().nanmean() < 2 * unit


def test_a_captured_model_gives_the_bits_of_the_model():
    """Also after another size, on another stream and in another mode, and an old answer stays what it was."""
    module = script_module(toto().module.to(GPU))
    captured = CapturedModel(module)
    _, batch, shorter = sample_cases(96, 16, 0, GPU)
    other = (batch[0] * torch.linspace(0.5, 2.0, 5, device=GPU)[:, None, None], *batch[1:])
    with torch.no_grad():
        for _ in range(4):  # TorchScript has settled on its kernels
            expected = [module(*case) for case in (batch, other, shorter)]
    with torch.inference_mode():
        first, second, third = (captured(*case) for case in (batch, other, shorter))
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        later = captured(*batch)
    side.synchronize()
    for found, wanted in zip((first, second, third, later), (*expected, expected[0]), strict=True):
        torch.testing.assert_close(found[0], wanted[0], rtol=0, atol=0, equal_nan=True)
    with no_waiting():
        captured(*batch)


def test_the_embedded_forecaster_and_its_table_are_those_of_the_cpu():
    scenarios = windows(num_windows=2, num_bars=110)
    ours, theirs = (load_forecaster("embedded", device) for device in (GPU, "cpu"))
    context = scenarios.bars[0, :64].transpose(0, 1).float()
    found, expected = ours.predict(context.to(GPU), None, 20), theirs.predict(context, None, 20)
    assert_close(found.quantiles, expected.quantiles, rtol=1e-5, atol=0)
    tables = [build_table(forecaster, TableRequest(scenarios.bars, 64, 64)) for forecaster in (ours, theirs)]
    torch.testing.assert_close(*tables, rtol=1e-3, atol=1e-6)
    assert tables[0][:, 64:].abs().max() > 0
    shown = VectorMarket(preset("sqrt"), scenarios, 2, forecast=tables[0], device=GPU).observe()
    assert shown.forecast_return.is_cuda
    assert (shown.forecast_present == 1).all()


def test_halts_and_ruin_are_those_of_the_cpu():
    """Half of the bars halted, and fees and leverage that ruin some seats."""
    scenarios = windows()
    halted = torch.rand(scenarios.tradable.shape, generator=torch.Generator().manual_seed(4)) < 0.5
    scenarios = scenarios._replace(tradable=scenarios.tradable & ~halted)
    rules = replace(preset("sqrt"), fee_rate=0.02, max_gross_leverage=20.0)
    ours, theirs = (VectorMarket(rules, scenarios, 4, device=device) for device in (GPU, "cpu"))
    for target in weights(theirs, gross=40.0):
        assert_same_step(ours, theirs, target)
    assert 0 < int(theirs.state.alive.sum()) < theirs.state.alive.numel()
