"""Toto 1.0: patches of several series to a mixture of Student t for every next step, inference only.

B batch   V variates   T context steps   P patch   S tokens of a variate (T / P, and its label if there is one)
d width   h heads   e = d / h width of a head   K mixture components   H horizon   N = ceil(H / P) decoding steps

A token describes one patch and predicts the next one, in units of the causal scaler at the end of its own patch. Padded
steps are visible to the attention; the mask only keeps them out of the statistics.

Cohen et al. (2025), "This Time is Different: An Observability Perspective on Time Series Foundation Models",
arXiv 2505.14766.
"""

from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arena.forecast.models.checkpoint import load_checkpoint, load_strict
from arena.forecast.models.toto1_layers import Layer, LayerCache, rotary_table
from arena.forecast.models.toto1_mixture import Mixture, mixture_draw, mixture_mean
from arena.forecast.models.toto1_scaler import Bounds, Moments, merged_moments, moments_of, patch_scaler, scale_bounds

SCALER = "<class 'model.scaler.CausalPatchStdMeanScaler'>"
DISTRIBUTION = "<class 'model.distribution.MixtureOfStudentTsOutput'>"
CONFIG_KEYS = (
    "patch_size",
    "stride",
    "embed_dim",
    "num_layers",
    "num_heads",
    "mlp_hidden_dim",
    "spacewise_every_n_layers",
    "spacewise_first",
    "scaler_cls",
    "output_distribution_classes",
    "output_distribution_kwargs",
)
PREFIX = "model."
UNFUSED = {"mlp.0.weight": "mlp.0.w12.weight", "mlp.0.bias": "mlp.0.w12.bias"} | {
    "mlp.2.weight": "mlp.0.w3.weight",
    "mlp.2.bias": "mlp.0.w3.bias",
}


class Decoding(NamedTuple):
    """What the forecast goes on from after the context."""

    hidden: Tensor  # [B, V, 1, d] of the last token
    caches: list[LayerCache]
    moments: Moments  # at the end of the last patch
    bounds: Bounds  # of the scaler
    patch_loc: Tensor  # [B, V, P] of the last patch
    patch_scale: Tensor
    ids: Tensor  # [B, V, 1] group of the last patch


class PatchEmbed(nn.Module):
    """One linear map of a patch."""

    def __init__(self, patch_size: int, width: int) -> None:
        super().__init__()
        self.projection = nn.Linear(patch_size, width)


class Transformer(nn.Module):
    """The layers, without a norm after the last."""

    def __init__(self, layers: list[Layer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)


class OutputDistribution(nn.Module):
    """The linear maps from a step's features to the parameters of its mixture."""

    def __init__(self, width: int, num_components: int) -> None:
        super().__init__()
        self.df = nn.Linear(width, num_components)
        self.loc_proj = nn.Linear(width, num_components)
        self.scale_proj = nn.Linear(width, num_components)
        self.mixture_weights = nn.Linear(width, num_components)


class Toto1(nn.Module):
    """The network, its scaler and its decoding. The names of the parameters are those of the published files.

    series      [B, V, T] raw values, finite everywhere
    valid_mask  [B, V, T] bool, False keeps a step out of the statistics
    id_mask     [B, V, T] any dtype, constant in each patch: variates attend to those of equal id; None: to all
    """

    head_eps: Final[float] = torch.finfo(torch.float32).eps  # floor of df - 2 and of a component's scale

    def __init__(
        self,
        patch_size: int,
        width: int,
        num_layers: int,
        num_heads: int,
        hidden_width: int,
        num_components: int,
        spacewise_every: int,
        spacewise_first: bool = False,
        stabilize_exponent: float | None = 10.0,
        labelled: bool = False,
    ) -> None:
        """
        spacewise_every     one layer of this many mixes variates: the first of them or the last
        stabilize_exponent  the running scale stays within 10**-x and 10**x of the whole context's; None: it is free
        labelled            a first token tells whether a variate is to be forecast or known in advance
        """
        super().__init__()
        if num_layers < 1 or spacewise_every < 1 or width % (2 * num_heads):
            raise ValueError(
                f"found {num_layers} layers, {spacewise_every} per space-wise layer and {num_heads} heads of width "
                f"{width}; expected at least one layer, one per space-wise layer, and heads of one even width"
            )
        self.patch_size = patch_size
        self.head_width = width // num_heads
        self.stabilize_exponent = stabilize_exponent
        self.num_labels = 1 if labelled else 0
        spacewise = [i % spacewise_every == (0 if spacewise_first else spacewise_every - 1) for i in range(num_layers)]
        self.num_context_layers = max([i + 1 for i in range(num_layers) if not spacewise[i]], default=0)
        self.patch_embed = PatchEmbed(patch_size, width)
        self.transformer = Transformer([Layer(width, num_heads, hidden_width, across) for across in spacewise])
        self.unembed = nn.Linear(width, patch_size * width)
        self.output_distribution = OutputDistribution(width, num_components)
        self.target_variate_label = nn.Parameter(torch.zeros(width)) if labelled else None
        self.exogenous_variate_label = nn.Parameter(torch.zeros(width)) if labelled else None

    def forward(
        self, series: Tensor, valid_mask: Tensor, id_mask: Tensor | None = None, num_exogenous: int = 0
    ) -> Mixture:
        """What every patch predicts of the next one; T must be a multiple of the patch. The last E are exogenous."""
        hidden, patch_loc, patch_scale = self.states(series, valid_mask, id_mask, num_exogenous)
        return self.read_out(hidden[-1], patch_loc, patch_scale, None)

    @torch.jit.export
    def states(
        self, series: Tensor, valid_mask: Tensor, id_mask: Tensor | None = None, num_exogenous: int = 0
    ) -> tuple[list[Tensor], Tensor, Tensor]:
        """Embedding and output of every layer [B, V, T/P, d], and location and scale of the scaler [B, V, T]."""
        self.check_inputs(series, valid_mask, id_mask, 1)
        if series.size(2) % self.patch_size != 0:
            raise ValueError(f"series has {series.size(2)} steps, expected a multiple of patch_size {self.patch_size}")
        moments = moments_of(series, valid_mask, self.patch_size)
        bounds = scale_bounds(moments, self.stabilize_exponent)
        patch_loc, patch_scale = patch_scaler(moments, bounds, self.patch_size)
        x = self.embed(series, patch_loc, patch_scale)
        hidden = [x]
        x, ids = self.with_labels(x, self.patch_ids(series, id_mask), num_exogenous)
        table = rotary_table(0, x.size(2), (x.size(2) - 1) // 2, self.head_width, x)
        for layer in self.transformer.layers:
            x = layer(x, table, self.empty_cache(x, x.size(2)), ids, 0, x.size(2))
            hidden.append(x[:, :, self.num_labels :])
        return hidden, patch_loc, patch_scale

    @torch.jit.export
    def forecast(
        self,
        series: Tensor,
        valid_mask: Tensor,
        horizon: int,
        id_mask: Tensor | None = None,
        future: Tensor | None = None,
        cached: bool = True,
    ) -> Tensor:
        """Mean forecast [B, V - E, H], each patch decoded from the means of those before it; see `steps`."""
        steps = self.steps(series, valid_mask, horizon, id_mask, future, cached)
        values = torch.cat([mixture_mean(mixture) for mixture in steps], dim=-1)
        return self.cropped(values, horizon, future)

    @torch.jit.export
    def steps(
        self,
        series: Tensor,
        valid_mask: Tensor,
        horizon: int,
        id_mask: Tensor | None = None,
        future: Tensor | None = None,
        cached: bool = True,
    ) -> list[Mixture]:
        """The N mixtures of P steps each, of all variates, that the mean forecast is made of.

        Contexts whose T is not a multiple of the patch are padded on the left.

        future  [B, E, H] values to come of the last E variates, which are not forecast
        cached  the numbers of the published code with its cache, its default, or without. They differ because its
                cached keys keep the xPos centre of the step that made them. This code keeps its keys in both cases.
        """
        decoding = self.prefill(series, valid_mask, horizon, id_mask, future)
        steps = torch.jit.annotate(list[Mixture], [])
        num_tokens, num_steps = self.num_tokens(series), self.num_steps(horizon)
        for step in range(num_steps):
            mixture = self.read_out(decoding.hidden, decoding.patch_loc, decoding.patch_scale, None)
            steps.append(mixture)
            if step + 1 < num_steps:
                values = self.with_future(mixture_mean(mixture), future, step)
                decoding = self.advance(decoding, values, num_tokens, num_tokens + step, cached)
        return steps

    @torch.jit.export
    def sample(
        self,
        series: Tensor,
        valid_mask: Tensor,
        horizon: int,
        num_samples: int,
        samples_per_batch: int,
        id_mask: Tensor | None = None,
        future: Tensor | None = None,
        cached: bool = True,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Paths [B, V - E, H, num_samples], drawn step by step; `samples_per_batch` of them at a time.

        Each path goes on from its own draws. The context is computed once for all of them.
        """
        if samples_per_batch < 1 or num_samples < 1 or num_samples % samples_per_batch != 0:
            raise ValueError(
                f"num_samples is {num_samples} and samples_per_batch {samples_per_batch}, expected a positive multiple"
            )
        context = self.prefill(series, valid_mask, horizon, id_mask, future)
        repeated = self.repeated(context, samples_per_batch)
        known = future.repeat_interleave(samples_per_batch, 0) if future is not None else None
        head = self.folded_head()
        num_tokens, num_steps = self.num_tokens(series), self.num_steps(horizon)
        batches = torch.jit.annotate(list[Tensor], [])
        for _ in range(num_samples // samples_per_batch):
            decoding = repeated  # its caches are written behind the context only, and read no further than written
            drawn = torch.jit.annotate(list[Tensor], [])
            for step in range(num_steps):
                mixture = self.read_out(decoding.hidden, decoding.patch_loc, decoding.patch_scale, head)
                values = mixture_draw(mixture, generator)  # [B * samples_per_batch, V, P]
                drawn.append(values)
                if step + 1 < num_steps:
                    values = self.with_future(values, known, step)
                    decoding = self.advance(decoding, values, num_tokens, num_tokens + step, cached)
            paths = self.cropped(torch.cat(drawn, dim=-1), horizon, future)
            batches.append(paths.unflatten(0, [series.size(0), samples_per_batch]))
        return torch.cat(batches, dim=1).permute(0, 2, 3, 1)

    def prefill(
        self, series: Tensor, valid_mask: Tensor, horizon: int, id_mask: Tensor | None, future: Tensor | None
    ) -> Decoding:
        """Run the context, with room in the caches for the horizon; only the last token is carried to the end."""
        self.check_inputs(series, valid_mask, id_mask, horizon)
        if future is not None:
            wanted = [series.size(0), horizon]
            if future.dim() != 3 or [future.size(0), future.size(2)] != wanted or future.size(1) >= series.size(1):
                raise ValueError(f"future has shape {future.shape}, expected [B, E, H] with E < V for {series.shape}")
        lacking = -series.size(2) % self.patch_size
        if id_mask is not None:
            id_mask = torch.cat([id_mask[:, :, :1].expand(-1, -1, lacking), id_mask], dim=-1)
        series, valid_mask = F.pad(series, [lacking, 0]), F.pad(valid_mask, [lacking, 0])

        moments = moments_of(series, valid_mask, self.patch_size)
        bounds = scale_bounds(moments, self.stabilize_exponent)
        patch_loc, patch_scale = patch_scaler(moments, bounds, self.patch_size)
        x = self.embed(series, patch_loc, patch_scale)
        x, ids = self.with_labels(x, self.patch_ids(series, id_mask), future.size(1) if future is not None else 0)
        length = x.size(2)
        table = rotary_table(0, length, (length - 1) // 2, self.head_width, x)
        caches = torch.jit.annotate(list[LayerCache], [])
        for i, layer in enumerate(self.transformer.layers):
            room = length + self.num_steps(horizon) - 1
            cache = self.empty_cache(x, 0 if layer.spacewise else room)
            # Behind the last layer along time a token no longer meets those before it.
            x = layer(x, table, cache, ids, 0, 1 if i + 1 >= self.num_context_layers else length)
            caches.append(cache)
        size = self.patch_size
        last = Moments(moments.num_valid[..., -1:], moments.mean[..., -1:], moments.m2[..., -1:])
        loc, scale = patch_loc[..., -size:], patch_scale[..., -size:]
        return Decoding(x, caches, last, bounds, loc, scale, ids[:, :, -1:])

    def advance(self, past: Decoding, values: Tensor, num_context: int, position: int, cached: bool) -> Decoding:
        """Append one patch of values [B, V, P], whose token has the given position."""
        new = moments_of(values, torch.ones_like(values, dtype=torch.bool), self.patch_size)
        moments = merged_moments(past.moments, new)
        patch_loc, patch_scale = patch_scaler(moments, past.bounds, self.patch_size)
        x = self.embed(values, patch_loc, patch_scale)
        centre = (position if cached else num_context - 1) // 2
        table = rotary_table(position, 1, centre, self.head_width, x)
        for i, layer in enumerate(self.transformer.layers):
            x = layer(x, table, past.caches[i], past.ids, position, 1)
        return Decoding(x, past.caches, moments, past.bounds, patch_loc, patch_scale, past.ids)

    def repeated(self, context: Decoding, num_paths: int) -> Decoding:
        """The same context for `num_paths` paths of each of the B batch rows, paths of one row next to each other."""
        caches = torch.jit.annotate(list[LayerCache], [])
        num_series = context.hidden.size(0)
        for cache in context.caches:
            key = cache.key.unflatten(0, [num_series, -1]).repeat_interleave(num_paths, 0).flatten(0, 1)
            value = cache.value.unflatten(0, [num_series, -1]).repeat_interleave(num_paths, 0).flatten(0, 1)
            caches.append(LayerCache(key, value))
        return Decoding(
            context.hidden.repeat_interleave(num_paths, 0),
            caches,
            Moments(
                context.moments.num_valid.repeat_interleave(num_paths, 0),
                context.moments.mean.repeat_interleave(num_paths, 0),
                context.moments.m2.repeat_interleave(num_paths, 0),
            ),
            Bounds(
                context.bounds.low.repeat_interleave(num_paths, 0),
                context.bounds.high.repeat_interleave(num_paths, 0),
            ),
            context.patch_loc.repeat_interleave(num_paths, 0),
            context.patch_scale.repeat_interleave(num_paths, 0),
            context.ids.repeat_interleave(num_paths, 0),
        )

    def read_out(
        self, hidden: Tensor, patch_loc: Tensor, patch_scale: Tensor, folded: tuple[Tensor, Tensor] | None
    ) -> Mixture:
        """Tokens [B, V, S, d] -> the mixtures of the S * P steps after them, in float32."""
        if folded is None:
            weight, bias = self.stacked_heads()
            features = self.unembed(hidden).unflatten(-1, [self.patch_size, -1])  # [B, V, S, P, d]
            parameters = F.linear(features, weight, bias)  # [B, V, S, P, 4 K]
        else:
            parameters = F.linear(hidden, folded[0], folded[1]).unflatten(-1, [self.patch_size, -1])
        df, loc, scale, logit = parameters.float().flatten(2, 3).chunk(4, dim=-1)
        df = 2.0 + F.softplus(df).clamp(min=self.head_eps)
        scale = F.softplus(scale).clamp(min=self.head_eps)
        return Mixture(df, loc, scale, torch.softmax(logit, dim=-1), patch_loc, patch_scale)

    def stacked_heads(self) -> tuple[Tensor, Tensor]:
        """The four maps of a step as one, [4 K, d] and [4 K]."""
        heads = self.output_distribution
        maps = (heads.df, heads.loc_proj, heads.scale_proj, heads.mixture_weights)
        weight = torch.cat((maps[0].weight, maps[1].weight, maps[2].weight, maps[3].weight))
        return weight, torch.cat((maps[0].bias, maps[1].bias, maps[2].bias, maps[3].bias))

    def folded_head(self) -> tuple[Tensor, Tensor]:
        """`unembed` and the four maps as one, [P * 4 K, d] and [P * 4 K]: worth its product for many tokens.

        Nothing nonlinear lies between them, and 4 K is much smaller than d.
        """
        weight, bias = self.stacked_heads()
        folded = weight @ self.unembed.weight.unflatten(0, [self.patch_size, -1])  # [P, 4 K, d]
        shift = F.linear(self.unembed.bias.unflatten(0, [self.patch_size, -1]), weight, bias)  # [P, 4 K]
        return folded.flatten(0, 1), shift.flatten()

    def embed(self, series: Tensor, patch_loc: Tensor, patch_scale: Tensor) -> Tensor:
        """[B, V, T] -> tokens [B, V, T/P, d]."""
        z = ((series.float() - patch_loc) / patch_scale).unflatten(-1, [-1, self.patch_size])
        return self.patch_embed.projection(z.to(self.patch_embed.projection.weight.dtype))

    def with_labels(self, x: Tensor, ids: Tensor, num_exogenous: int) -> tuple[Tensor, Tensor]:
        """The tokens behind a label of unit length, and their groups, if the checkpoint has labels."""
        target, exogenous = self.target_variate_label, self.exogenous_variate_label
        if target is not None and exogenous is not None:
            num_targets = x.size(1) - num_exogenous
            labels = torch.stack([F.normalize(target, dim=-1), F.normalize(exogenous, dim=-1)])
            kind = (torch.arange(x.size(1), device=x.device) >= num_targets).long()
            label = labels[kind].expand(x.size(0), -1, -1).unsqueeze(2)  # [B, V, 1, d]
            x, ids = torch.cat([label, x], dim=2), torch.cat([ids[:, :, :1], ids], dim=2)
        return x, ids

    def patch_ids(self, series: Tensor, id_mask: Tensor | None) -> Tensor:
        """[B, V, T/P]."""
        if id_mask is None:
            return torch.zeros_like(series[..., :: self.patch_size])
        ids = id_mask.unflatten(-1, [-1, self.patch_size])
        if bool((ids != ids[..., :1]).any()):
            raise ValueError("id_mask changes within a patch, expected one id per patch")
        return ids[..., 0]

    def empty_cache(self, x: Tensor, length: int) -> LayerCache:
        """Room for `length` tokens of every variate."""
        shape = [x.size(0) * x.size(1), x.size(3) // self.head_width, length, self.head_width]
        return LayerCache(x.new_empty(shape), x.new_empty(shape))

    def num_tokens(self, series: Tensor) -> int:
        """Tokens of a context, its label included."""
        return -(-series.size(2) // self.patch_size) + self.num_labels

    def num_steps(self, horizon: int) -> int:
        """Patches that hold the horizon."""
        return -(-horizon // self.patch_size)

    def with_future(self, values: Tensor, future: Tensor | None, step: int) -> Tensor:
        """A decoded patch [B, V, P] with the known values of the exogenous variates."""
        if future is None:
            return values
        known = future[..., step * self.patch_size : (step + 1) * self.patch_size]
        return torch.cat([values[:, : values.size(1) - known.size(1)], known.to(values.dtype)], dim=1)

    def cropped(self, values: Tensor, horizon: int, future: Tensor | None) -> Tensor:
        """The horizon of the variates that are forecast."""
        num_exogenous = future.size(1) if future is not None else 0
        return values[:, : values.size(1) - num_exogenous, :horizon]

    def check_inputs(self, series: Tensor, valid_mask: Tensor, id_mask: Tensor | None, horizon: int) -> None:
        """Refuse shapes that do not belong together."""
        if series.dim() != 3 or series.size(2) < 1 or valid_mask.shape != series.shape:
            raise ValueError(
                f"series has shape {series.shape} and valid_mask {valid_mask.shape}, expected [B, V, T] twice"
            )
        if id_mask is not None and id_mask.shape != series.shape:
            raise ValueError(f"id_mask has shape {id_mask.shape}, expected {series.shape}")
        if horizon < 1:
            raise ValueError(f"horizon is {horizon}, expected at least 1")


def load_toto1(source: str | Path) -> Toto1:
    """The network of a folder or hub id in the published layout, strictly; in evaluation mode, in float32."""
    config, tensors = load_checkpoint(source)
    weights = {_own_name(name): tensor for name, tensor in tensors.items() if "rotary_emb" not in name}
    labelled = "target_variate_label" in weights or "exogenous_variate_label" in weights
    model = _from_config(config, labelled, source)
    load_strict(model, weights, source)
    return model.requires_grad_(False).eval()


def _from_config(config: dict[str, Any], labelled: bool, source: str | Path) -> Toto1:
    missing = [key for key in CONFIG_KEYS if key not in config]
    if missing:
        raise ValueError(f"config.json of {source} has no {', '.join(missing)}: it is of another architecture")
    for key, expected in (
        ("scaler_cls", SCALER),
        ("output_distribution_classes", [DISTRIBUTION]),
        ("stride", config["patch_size"]),
    ):
        if config[key] != expected:
            raise ValueError(f"config.json of {source} has {key} {config[key]!r}, supported is only {expected!r}")
    kwargs = config["output_distribution_kwargs"]
    if not isinstance(kwargs, dict) or kwargs.keys() != {"k_components"}:
        raise ValueError(
            f"config.json of {source} has output_distribution_kwargs {kwargs!r}, expected k_components alone"
        )
    return Toto1(
        patch_size=config["patch_size"],
        width=config["embed_dim"],
        num_layers=config["num_layers"],
        num_heads=config["num_heads"],
        hidden_width=config["mlp_hidden_dim"],
        num_components=kwargs["k_components"],
        spacewise_every=config["spacewise_every_n_layers"],
        spacewise_first=config["spacewise_first"],
        stabilize_exponent=config.get("scale_factor_exponent", 10.0) if config.get("stabilize_with_global") else None,
        labelled=labelled,
    )


def _own_name(name: str) -> str:
    """Without the prefix of all names, and with fused names for the two maps of an MLP, which checkpoints name in both
    ways; `pre_xformers_checkpoint` of their configuration only says in which."""
    name = name.removeprefix(PREFIX)
    for unfused, fused in UNFUSED.items():
        if name.endswith(unfused):
            return name.removesuffix(unfused) + fused
    return name
