"""Kronos against what its upstream gave.

B series   L context bars   H horizon   T tokens   d width   M max_context   R regime, a value of M
"""

import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from arena.forecast.models.kronos import calendar_stamps
from arena.forecast.models.kronos_predictor import filtered_probabilities
from tools.verify.forecasters.arrays import ArrayCheck, GoldenError, Route, error_within, judge, skip
from tools.verify.forecasters.cases import read_object

META = "meta.json"
FILES = ("inputs", "tokenizer_golden", "predictor_golden", "ar_greedy_golden", "sampling_golden")
ENTRY_POINTS = (
    "normalise",
    "forward",
    *(f"tokenizer.{name}" for name in ("embed", "pre_quant", "encode", "code", "decode", "decode_coarse")),
    *(
        f"predictor.{name}"
        for name in ("embedding", "time_emb", "contexts", "s1_logits", "s2_logits_window", "forward")
    ),
)
ATOL, RTOL = 5e-5, 1e-5  # float32 in any order, of activations, logits and decoded values
MEAN_RTOL, STD_RTOL = 5e-7, 3e-6  # float32 sums of the upstream against float64 ones
CODE_ATOL = 1e-6  # the upstream's straight-through quantiser leaves rounding noise
PROBABILITY_ATOL = 1e-6
FORECAST_ATOL = 1e-4  # in units of a channel's standard deviation
SAMPLED = (4, 0.9, 0, 0.9)  # num_samples, temperature, top_k, top_p of the run with random draws
SAMPLED_REGIME = NO_VOLUME_REGIME = "fit"
INSIDE = {
    "eager": "an array that the model is not known to give",
    "script": "no entry point of the exported model gives it",
}

Answers = Iterator[tuple[str, Tensor, Tensor | float, float]]  # array, what was found, atol, rtol


class KronosGolden(NamedTuple):
    """Arrays by file, and the context lengths of the regimes."""

    arrays: dict[str, dict[str, Tensor]]
    regimes: dict[str, int]

    def array(self, file: str, name: str) -> Tensor:
        if name not in self.arrays[file]:
            raise GoldenError(f"{file}.npz holds no {name}; it has {', '.join(self.arrays[file])}")
        return self.arrays[file][name]

    @property
    def length(self) -> int:
        return self.array("inputs", "x_time_ns").size(1)

    @property
    def bars(self) -> Tensor:
        """[B, L, 6]."""
        return self.array("inputs", "ohlcva")[:, : self.length].float()

    @property
    def stamps(self) -> Tensor:
        """[B, L + H, 5]."""
        times = [self.array("inputs", "x_time_ns"), self.array("inputs", "y_time_ns")]
        return calendar_stamps(torch.cat(times, dim=1))

    def max_context(self, regime: str) -> int:
        if regime not in self.regimes:
            raise GoldenError(f"{META} has no regime {regime}; it has {', '.join(self.regimes)}")
        return self.regimes[regime]


def read_golden(folder: Path) -> KronosGolden:
    """All files of a folder."""
    regimes = read_object(folder / META).get("regimes")
    if not isinstance(regimes, dict) or not regimes or not all(isinstance(length, int) for length in regimes.values()):
        raise GoldenError(f"{folder / META} has regimes {regimes!r:.60}, expected the max_context of each by name")
    return KronosGolden({file: _read_arrays(folder / f"{file}.npz") for file in FILES}, regimes)


def check_kronos(model: Any, golden: KronosGolden, route: Route) -> Iterator[ArrayCheck]:
    """Every array of every file, but those that went in."""
    parts = {
        "inputs": (_inputs, {"ohlcva", "x_time_ns", "y_time_ns"}),
        "tokenizer_golden": (_tokenizer, {"x_norm", "rnd_s1", "rnd_s2"}),
        "predictor_golden": (_predictor, {"s1", "s2", "stamp", "s1_targets"}),
        "ar_greedy_golden": (_greedy, set()),
        "sampling_golden": (_sampling, {"logits", "cases_T_topk_topp", "rng_seed"}),
    }
    for file, (answers, given) in parts.items():
        found = {name: (value, atol, rtol) for name, value, atol, rtol in answers(model, golden, route)}
        for name, expected in golden.arrays[file].items():
            if name in found:
                value, atol, rtol = found[name]
                yield judge(f"{file}.{name}", route, error_within(value, expected, atol, rtol))
            elif name not in given:
                yield skip(f"{file}.{name}", route, INSIDE[route])


def _inputs(model: Any, golden: KronosGolden, route: Route) -> Answers:
    x, loc, scale = model.normalise(golden.bars)
    yield "x_norm", x, ATOL, 0.0
    yield "x_mean", loc, 0.0, MEAN_RTOL
    yield "x_std", scale, 0.0, STD_RTOL
    if route == "eager":
        yield "x_stamp", golden.stamps[:, : golden.length].float(), 0.0, 0.0
        yield "y_stamp", golden.stamps[:, golden.length :].float(), 0.0, 0.0


def _tokenizer(model: Any, golden: KronosGolden, route: Route) -> Answers:
    tokenizer, x = model.tokenizer, golden.array("tokenizer_golden", "x_norm")
    yield "enc_embed", tokenizer.embed(x), ATOL, RTOL
    if route == "eager":
        (encoded,) = _inputs_of([tokenizer.quant_embed], lambda: tokenizer.pre_quant(x))
        yield "enc_out", encoded, ATOL, RTOL
    pre_quant = tokenizer.pre_quant(x)
    yield "pre_quant", pre_quant, ATOL, RTOL
    yield "pre_quant_unit", nn.functional.normalize(pre_quant, dim=-1), ATOL, RTOL
    yield "bits", pre_quant > 0, 0.0, 0.0
    s1, s2 = tokenizer.encode(x)
    yield "s1", s1, 0.0, 0.0
    yield "s2", s2, 0.0, 0.0
    yield "full", s1 + (s2 << tokenizer.s1_bits), 0.0, 0.0
    yield "quantized", tokenizer.code(s1, s2), CODE_ATOL, 0.0
    yield "decoded", tokenizer.decode(s1, s2), ATOL, RTOL
    yield "decoded_s1_only", tokenizer.decode_coarse(s1), ATOL, RTOL
    random = [golden.array("tokenizer_golden", name) for name in ("rnd_s1", "rnd_s2")]
    yield "rnd_decoded", tokenizer.decode(*random), ATOL, RTOL


def _predictor(model: Any, golden: KronosGolden, route: Route) -> Answers:
    predictor = model.predictor
    s1, s2, stamp, chosen = (golden.array("predictor_golden", name) for name in ("s1", "s2", "stamp", "s1_targets"))
    tokens, calendar = predictor.embedding(s1, s2), predictor.time_emb(stamp.long())
    yield "tok_embed", tokens, ATOL, RTOL
    yield "time_embed", calendar, ATOL, RTOL
    x = tokens + calendar
    if route == "eager":
        hidden = _inputs_of([*predictor.transformer, predictor.norm], lambda: predictor.contexts(x))
        yield "hidden", torch.stack(hidden), ATOL, RTOL
    context = predictor.contexts(x)
    yield "context", context, ATOL, RTOL
    yield "s1_logits", predictor.s1_logits(context), ATOL, RTOL
    yield "s2_logits_infer", predictor.s2_logits_window(context, chosen, False, True), ATOL, RTOL
    yield "s2_logits_forward_eval", predictor.s2_logits_window(context, chosen, True, False), ATOL, RTOL
    yield "s2_logits_forward_train", predictor.s2_logits_window(context, chosen, True, True), ATOL, RTOL
    yield "s1_logits_nostamp", predictor.s1_logits(predictor.contexts(tokens)), ATOL, RTOL


def _greedy(model: Any, golden: KronosGolden, route: Route) -> Answers:
    bars, stamps = golden.bars, golden.stamps
    unit = FORECAST_ATOL * golden.array("inputs", "x_std").unsqueeze(1)  # [B, 1, 6]
    s1, s2 = model.tokenizer.encode(model.normalise(bars)[0])
    for regime, length in golden.regimes.items():
        model.max_context = length
        forecast = model(bars, stamps, 1, 1.0, 1, 1.0)
        yield f"{regime}_s1", forecast.s1[:, 0], 0.0, 0.0
        yield f"{regime}_s2", forecast.s2[:, 0], 0.0, 0.0
        yield f"{regime}_pred_norm", forecast.normalised[:, 0], ATOL, RTOL
        yield f"{regime}_pred", forecast.mean, unit, RTOL
        made = model.predictor(s1, s2, stamps, length, 1, 1.0, 1, 1.0, False, None, None, True)
        yield f"{regime}_s1_logits", torch.stack(made.s1_logits, dim=1), ATOL, RTOL
        yield f"{regime}_s2_logits", torch.stack(made.s2_logits, dim=1), ATOL, RTOL
        if route == "eager":  # what the model's windows are by its contract
            seen = torch.arange(bars.size(1), stamps.size(1)).clamp(max=length)
            yield f"{regime}_window_len", seen, 0.0, 0.0
            yield f"{regime}_max_context", torch.tensor(length), 0.0, 0.0
    if {"novol_pred", "noamt_pred"} & golden.arrays["ar_greedy_golden"].keys():
        model.max_context = golden.max_context(NO_VOLUME_REGIME)
        yield "novol_pred", model(bars[..., :4], stamps, 1, 1.0, 1, 1.0).mean, unit, RTOL
        yield "noamt_pred", model(bars[..., :5], stamps, 1, 1.0, 1, 1.0).mean, unit, RTOL


def _sampling(model: Any, golden: KronosGolden, route: Route) -> Answers:
    if route == "eager":
        logits = golden.array("sampling_golden", "logits")
        cases = golden.array("sampling_golden", "cases_T_topk_topp").tolist()
        for i, (temperature, top_k, top_p) in enumerate(cases):
            yield f"probs_{i}", filtered_probabilities(logits, temperature, int(top_k), top_p), PROBABILITY_ATOL, 0.0
    if {"rng_pred_norm", "rng_pred"} & golden.arrays["sampling_golden"].keys():
        model.max_context = golden.max_context(SAMPLED_REGIME)
        generator = torch.Generator().manual_seed(int(golden.array("sampling_golden", "rng_seed")))
        forecast = model(golden.bars, golden.stamps, *SAMPLED, generator=generator)
        yield "rng_pred_norm", forecast.normalised.mean(1), ATOL, RTOL
        yield "rng_pred", forecast.mean, FORECAST_ATOL * golden.array("inputs", "x_std").unsqueeze(1), RTOL


def _inputs_of(modules: Sequence[nn.Module], run: Callable[[], Tensor]) -> list[Tensor]:
    """What reaches each module, which is called once, while `run` runs."""
    reached: list[Tensor] = []
    hooks = [module.register_forward_pre_hook(lambda _, inputs: reached.append(inputs[0])) for module in modules]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return reached


def _read_arrays(path: Path) -> dict[str, Tensor]:
    """An npz file, of numbers only."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: torch.from_numpy(file[name]) for name in file.files}
    except FileNotFoundError:
        raise GoldenError(f"{path.parent} holds no {path.name}") from None
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise GoldenError(f"{path} is not an npz file of numbers: {error}") from None
