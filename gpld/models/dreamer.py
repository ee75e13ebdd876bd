"""All networks of DreamerV3 that are trained together."""

from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import PRNGKeyArray

from ..config import ModelConfig
from .blocks import BlockForm
from .decoder import Decoder
from .encoder import Encoder
from .heads import ContinueHead, PolicyHead, TwoHotHead
from .rssm import RSSM


class Dreamer(eqx.Module):
    """World model (encoder, RSSM, decoder, reward, continue), policy and value."""

    encoder: Encoder
    rssm: RSSM
    decoder: Decoder
    reward: TwoHotHead
    cont: ContinueHead
    policy: PolicyHead
    value: TwoHotHead

    def __init__(
        self,
        config: ModelConfig,
        shapes: Mapping[str, tuple[int, ...]],
        action_size: int,
        *,
        dtype: jnp.dtype = jnp.dtype("float32"),  # noqa: B008
        form: BlockForm = "batched",
        unroll: int = 1,
        in_chunks: bool = False,
        row_by_row: bool = False,
        key: PRNGKeyArray,
    ):
        """Initialise all networks.

        The last four arguments before the key change rounding and speed alone; `agent.init`
        gives what is fastest on the machine.

        Args:
            config: Sizes.
            shapes: Shape of each observation by its key, without batch axes.
            action_size: Number of action dimensions.
            dtype: Compute dtype; parameters are float32 whatever it is.
            form: How products of blocks are taken.
            unroll: Steps of loops over time that are compiled as one.
            in_chunks: Whether pictures are taken a few at a time, see `map_states`.
            row_by_row: Whether penalties take one row after the other, see
                `gpld.losses.gram_penalty`.
            key: Random key.
        """
        names = ("encoder", "rssm", "decoder", "reward", "cont", "policy", "value")
        keys = dict(zip(names, jr.split(key, len(names)), strict=True))
        dims = config.dims
        feat = dims.deter + config.stoch * dims.classes
        self.encoder = Encoder(
            shapes, config, dtype=dtype, in_chunks=in_chunks, key=keys["encoder"]
        )
        self.rssm = RSSM(
            self.encoder.embed_size,
            action_size,
            deter=dims.deter,
            hidden=dims.hidden,
            stoch=config.stoch,
            classes=dims.classes,
            blocks=config.blocks,
            prior_layers=config.prior_layers,
            posterior_layers=config.posterior_layers,
            unimix=config.unimix,
            dtype=dtype,
            form=form,
            unroll=unroll,
            row_by_row=row_by_row,
            key=keys["rssm"],
        )
        self.decoder = Decoder(shapes, config, form=form, key=keys["decoder"])
        self.reward = TwoHotHead(
            feat,
            units=dims.units,
            num_layers=config.reward_layers,
            key=keys["reward"],
        )
        self.cont = ContinueHead(
            feat,
            units=dims.units,
            num_layers=config.continue_layers,
            key=keys["cont"],
        )
        self.policy = PolicyHead(
            feat,
            action_size,
            units=dims.units,
            num_layers=config.policy_layers,
            key=keys["policy"],
        )
        self.value = TwoHotHead(
            feat, units=dims.units, num_layers=config.value_layers, key=keys["value"]
        )


def parameter_counts(model: Dreamer) -> dict[str, int]:
    """Count the trained parameters of each network, by its name."""
    return {
        name: sum(x.size for x in jax.tree.leaves(eqx.filter(module, eqx.is_array)))
        for name, module in vars(model).items()
    }
