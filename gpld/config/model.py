"""Settings of the networks: their sizes, how they are computed, and what they begin with."""

import dataclasses
from typing import Annotated, Literal, NamedTuple

import tyro

from .checks import check, check_choices

Precision = Literal["auto", "float32", "mixed", "bfloat16"]


class Dimensions(NamedTuple):
    """The widths that a model size stands for."""

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

    hidden: int | None = None
    """Width of the RSSM's hidden layers; None follows `size`."""

    classes: int | None = None
    """Classes per categorical row, 2 to 256; None follows `size`."""

    units: int | None = None
    """Width of encoder, decoder and heads; None follows `size`."""

    depth: int | None = None
    """Unit of the channels of convolutions; None follows `size`."""

    multipliers: tuple[int, ...] = (2, 3, 4, 4)
    """Channels of each convolution of the encoder, in units of `depth`; each halves an image.
    The decoder has them in reverse."""

    kernel: int = 5
    """Side of the kernels of convolutions, an odd number."""

    image_blocks: int = 8
    """Blocks of the deterministic state from which the image decoder draws; divides its width
    and the channels of the encoder's last layer."""

    stoch: int = 32
    """Categorical rows of the stochastic state."""

    blocks: int = 8
    """Diagonal blocks of the sequence model."""

    prior_layers: int = 2
    """Hidden layers of the prior."""

    posterior_layers: int = 1
    """Hidden layers of the posterior."""

    encoder_layers: int = 3
    """Hidden layers of the encoder."""

    decoder_layers: int = 3
    """Hidden layers of the decoder."""

    reward_layers: int = 1
    """Hidden layers of the reward head."""

    continue_layers: int = 1
    """Hidden layers of the continue head."""

    policy_layers: int = 3
    """Hidden layers of the policy."""

    value_layers: int = 3
    """Hidden layers of the value head."""

    unimix: float = 0.01
    """Share of the uniform distribution mixed into every categorical, in (0, 1)."""

    def __post_init__(self):
        check_choices(self, "model.")
        check(self.blocks >= 1, "model.blocks", "at least 1", self.blocks)
        dims = self.dims
        check(
            dims.deter >= 1 and dims.deter % self.blocks == 0,
            "model.deter",
            f"a positive multiple of `model.blocks` ({self.blocks})",
            dims.deter,
        )
        # Replay stores the class of a row in one byte.
        check(2 <= dims.classes <= 256, "model.classes", "in 2 to 256", dims.classes)
        for name in ("hidden", "units", "depth"):
            width = getattr(dims, name)
            check(width >= 1, f"model.{name}", "at least 1", width)
        check(
            len(self.multipliers) >= 1 and min(self.multipliers) >= 1,
            "model.multipliers",
            "numbers of at least 1",
            self.multipliers,
        )
        odd = self.kernel >= 1 and self.kernel % 2 == 1
        check(odd, "model.kernel", "a positive odd number", self.kernel)
        check(self.image_blocks >= 1, "model.image_blocks", "at least 1", self.image_blocks)
        check(self.stoch >= 1, "model.stoch", "at least 1", self.stoch)
        for field in dataclasses.fields(self):
            if field.name.endswith("_layers"):
                value = getattr(self, field.name)
                check(value >= 1, f"model.{field.name}", "at least 1", value)
                check(value <= 1000, f"model.{field.name}", "at most 1000", value)
        # Without a uniform share, a probability of 0 makes KL and entropy infinite.
        check(0 < self.unimix < 1, "model.unimix", "in (0, 1)", self.unimix)

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
    """How it is computed: numbers change by rounding alone."""

    rewrite: bool = True
    """Whether the programs of gradients are rewritten before they are compiled: products summed
    after loops, sums and convolutions in forms for CPUs, and mixed precision. Without, updates
    are as they were written, and slower: for when a rewriting is suspected of an error."""


NETWORKS = ("encoder", "rssm", "decoder", "reward", "cont", "policy", "value")
"""Names of the networks of a model."""


@dataclasses.dataclass(frozen=True)
class InitConfig:
    """Networks that begin with what another run has learned (paper, appendix D.2)."""

    from_: Annotated[str | None, tyro.conf.arg(name="from")] = None
    """Folder of that run, of which the latest checkpoint counts; None begins from nothing."""

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
