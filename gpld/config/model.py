"""Settings of the networks: sizes, computation, initial parameters."""

import dataclasses
from typing import Annotated, Literal, NamedTuple

import tyro

from .checks import Bound, at_least, check, check_fields, each_at_least, within

Precision = Literal["auto", "float32", "mixed", "bfloat16"]
Layers = Annotated[int, at_least(1), Bound("at most 1000", lambda number: number <= 1000)]
# Replay stores the class of a row in one byte.
_CLASSES = Bound("in 2 to 256", lambda number: 2 <= number <= 256)
_ODD = Bound("a positive odd number", lambda number: number >= 1 and number % 2 == 1)


class Dimensions(NamedTuple):
    """Widths of one model size."""

    deter: int
    hidden: int
    classes: int
    units: int
    depth: int


SIZES: dict[str, Dimensions] = {
    "1m": Dimensions(deter=512, hidden=64, classes=4, units=64, depth=4),
    "12m": Dimensions(deter=2048, hidden=256, classes=16, units=256, depth=16),
    "25m": Dimensions(deter=3072, hidden=384, classes=24, units=384, depth=24),
    "50m": Dimensions(deter=4096, hidden=512, classes=32, units=512, depth=32),
    "100m": Dimensions(deter=6144, hidden=768, classes=48, units=768, depth=48),
    "200m": Dimensions(deter=8192, hidden=1024, classes=64, units=1024, depth=64),
    "400m": Dimensions(deter=12288, hidden=1536, classes=96, units=1536, depth=96),
}


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Networks (DreamerV3; paper, table 2)."""

    size: Literal["1m", "12m", "25m", "50m", "100m", "200m", "400m"] = "12m"
    """Nominal parameter count; sets the widths that are not given by themselves."""

    deter: int | None = None
    """Width of the deterministic state, a multiple of `blocks`; None follows `size`."""

    hidden: Annotated[int | None, at_least(1)] = None
    """Width of the RSSM's hidden layers; None follows `size`."""

    classes: Annotated[int | None, _CLASSES] = None
    """Classes per categorical row, 2 to 256; None follows `size`."""

    units: Annotated[int | None, at_least(1)] = None
    """Width of encoder, decoder and heads; None follows `size`."""

    depth: Annotated[int | None, at_least(1)] = None
    """Unit of the channels of convolutions; None follows `size`."""

    multipliers: Annotated[tuple[int, ...], each_at_least(1)] = (2, 3, 4, 4)
    """Channels of each convolution of the encoder, in units of `depth`; each halves an image.
    The decoder has them in reverse."""

    kernel: Annotated[int, _ODD] = 5
    """Side of the kernels of convolutions, an odd number."""

    image_blocks: Annotated[int, at_least(1)] = 8
    """Blocks of the deterministic state from which the image decoder draws; divides its width
    and the channels of the encoder's last layer."""

    stoch: Annotated[int, at_least(1)] = 32
    """Categorical rows of the stochastic state."""

    blocks: Annotated[int, at_least(1)] = 8
    """Diagonal blocks of the sequence model."""

    prior_layers: Layers = 2
    """Hidden layers of the prior."""

    posterior_layers: Layers = 1
    """Hidden layers of the posterior."""

    encoder_layers: Layers = 3
    """Hidden layers of the encoder."""

    decoder_layers: Layers = 3
    """Hidden layers of the decoder."""

    reward_layers: Layers = 1
    """Hidden layers of the reward head."""

    continue_layers: Layers = 1
    """Hidden layers of the continue head."""

    policy_layers: Layers = 3
    """Hidden layers of the policy."""

    value_layers: Layers = 3
    """Hidden layers of the value head."""

    unimix: Annotated[float, within("(0, 1)")] = 0.01
    """Share of the uniform distribution mixed into every categorical, in (0, 1)."""
    # Without it, a probability of 0 makes KL and entropy infinite.

    def __post_init__(self):
        check_fields(self, "model.")
        deter, allowed = self.dims.deter, f"a positive multiple of `model.blocks` ({self.blocks})"
        check(deter >= 1 and deter % self.blocks == 0, "model.deter", allowed, deter)

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels after each convolution of the encoder."""
        return tuple(multiplier * self.dims.depth for multiplier in self.multipliers)

    @property
    def dims(self) -> Dimensions:
        """Widths: those of `size`, except where one is given by itself."""
        sized = SIZES[self.size]
        own = {name: getattr(self, name) for name in Dimensions._fields}
        return sized._replace(**{k: v for k, v in own.items() if v is not None})


@dataclasses.dataclass(frozen=True)
class ComputeConfig:
    """Settings of compilation, which change numbers by rounding alone."""

    rewrite: bool = True
    """Whether the programs of gradients are rewritten before they are compiled: products summed
    after loops, loops split for GPUs, sums and convolutions in forms for CPUs, and mixed precision.
    Without, updates are as they were written, and slower: for when a rewriting is suspected of an
    error."""


NETWORKS = ("encoder", "rssm", "decoder", "reward", "cont", "policy", "value")
"""Names of the networks of a model."""


@dataclasses.dataclass(frozen=True)
class InitConfig:
    """Networks that begin with what another run has learned (paper, appendix D.2)."""

    from_: Annotated[str | None, tyro.conf.arg(name="from")] = None
    """Folder of that run, of which the latest checkpoint counts, or an agent that comes with the
    package, `zoo:cartpole_swingup`; None begins from nothing."""

    modules: tuple[str, ...] = ("encoder", "decoder")
    """Networks that are taken from there: some of encoder, rssm, decoder, reward, cont, policy
    and value, with spaces or commas between them. Everything else begins anew."""

    freeze: bool = False
    """Whether these networks stay as they are."""

    def __post_init__(self):
        names = tuple(name for value in self.modules for name in value.split(",") if name)
        object.__setattr__(self, "modules", names)
        known = names and len(set(names)) == len(names) and set(names) <= set(NETWORKS)
        allowed = f"some of {', '.join(NETWORKS)}, each once"
        check(bool(known), "init.modules", allowed, ",".join(names))
        frozen = not self.freeze or self.from_ is not None
        check(frozen, "init.freeze", "False without `init.from`", self.freeze)
