"""The config.json of a Toto 2.0 checkpoint, checked."""

from dataclasses import dataclass, fields
from typing import Any

DEFAULTS = {
    "norm_eps": 5e-5,
    "attn_bias": False,
    "mlp_bias": False,
    "residual_mult": 1.0,
    "qk_norm": True,
    "norm_include_weight": False,
    "per_dim_scale": False,
    "use_xpos": False,
}
REQUIRED = (
    "patch_size",
    "d_model",
    "num_heads",
    "num_layers",
    "layer_group_size",
    "num_variate_layers_per_group",
    "variate_layer_first",
    "residual_attn_ratio",
)
NOT_BUILT = {"dropout_p": 0.0, "num_output_patches": 1}  # settings of which only this value is supported


@dataclass(frozen=True)
class Toto2Config:
    """Sizes and switches of the network, by the names of config.json; all are given, nothing is derived later."""

    patch_size: int  # steps
    d_model: int
    num_heads: int
    num_groups: int  # key-value heads
    qk_dim: int  # of one head
    v_dim: int
    d_ff: int
    num_layers: int
    layer_group_size: int
    num_variate_layers_per_group: int
    variate_layer_first: bool
    residual_attn_ratio: float  # sqrt(R / ln R), R patches of training context
    residual_mult: float
    norm_eps: float
    norm_include_weight: bool
    qk_norm: bool
    qk_norm_include_weight: bool
    per_dim_scale: bool
    attn_bias: bool
    mlp_bias: bool
    use_xpos: bool

    @staticmethod
    def from_json(config: dict[str, Any]) -> "Toto2Config":
        """Fill in the defaults of upstream, and drop keys that it does not know."""
        missing = [key for key in REQUIRED if config.get(key) is None]
        if missing:
            raise ValueError(f"its config lacks {', '.join(missing)}")
        for key, supported in NOT_BUILT.items():
            if config.get(key) not in (None, supported):
                raise ValueError(f"{key} is {config[key]!r}, expected {supported}: no published model has another")
        types = {field.name: field.type for field in fields(Toto2Config)}
        given = DEFAULTS | {key: value for key, value in config.items() if key in types and value is not None}
        for key, value in given.items():
            _check(key, value, types[key])
        given.setdefault("d_ff", -(-int(8 * given["d_model"] / 3) // 8) * 8)
        given.setdefault("qk_dim", given["d_model"] // given["num_heads"])
        given.setdefault("v_dim", given["qk_dim"])
        given.setdefault("num_groups", given["num_heads"])
        given.setdefault("qk_norm_include_weight", given["norm_include_weight"])
        return Toto2Config(**given)

    def __post_init__(self) -> None:
        for name, divisor in (
            ("num_layers", "layer_group_size"),
            ("d_model", "num_heads"),
            ("num_heads", "num_groups"),
        ):
            if getattr(self, name) % getattr(self, divisor):
                raise ValueError(
                    f"{name} {getattr(self, name)} is not a multiple of {divisor} {getattr(self, divisor)}"
                )
        if self.num_variate_layers_per_group > self.layer_group_size:
            raise ValueError(
                f"num_variate_layers_per_group {self.num_variate_layers_per_group} exceeds layer_group_size "
                f"{self.layer_group_size}"
            )
        if self.qk_dim % 4:
            raise ValueError(f"qk_dim is {self.qk_dim}, expected a multiple of 4: half of a head rotates, in pairs")

    def is_across_variates(self, layer: int) -> bool:
        """Whether the layer mixes the variates at one time; the others mix the past of one variate."""
        place = layer % self.layer_group_size
        if self.variate_layer_first:
            return place < self.num_variate_layers_per_group
        return place >= self.layer_group_size - self.num_variate_layers_per_group

    def taus(self) -> list[float]:
        """Weight of every branch, the attention and the feed-forward of each layer in turn, against its skip.

            tau_j = a_j / sqrt(L + ceil(j/2) a_attn^2 + floor(j/2) a_mlp^2)        branch j = 0 .. 2 L - 1
            a_mlp = residual_mult sqrt(2 / (1 + r^2)),   a_attn = r a_mlp,   r = residual_attn_ratio

        Blake et al. (2024), "u-muP: The Unit-Scaled Maximal Update Parametrization", arXiv 2407.17465.
        """
        mlp = self.residual_mult * (2.0 / (1.0 + self.residual_attn_ratio**2)) ** 0.5
        attn = self.residual_attn_ratio * mlp
        return [
            (mlp if j % 2 else attn) / (self.num_layers + (j + 1) // 2 * attn**2 + j // 2 * mlp**2) ** 0.5
            for j in range(2 * self.num_layers)
        ]


def _check(name: str, value: Any, kind: Any) -> None:
    if kind is bool and type(value) is not bool:
        raise ValueError(f"{name} is {value!r}, expected true or false")
    if kind is int and (type(value) is not int or value < (name != "num_variate_layers_per_group")):
        raise ValueError(f"{name} is {value!r}, expected a positive integer")
    if kind is float and not (isinstance(value, int | float) and 0 < value < float("inf")):
        raise ValueError(f"{name} is {value!r}, expected a positive number")
