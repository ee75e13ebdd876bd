"""All networks of DreamerV3 that are trained together."""

from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import PRNGKeyArray

from ..config import ModelConfig
from .decoder import Decoder
from .encoder import Encoder
from .forms import Forms
from .heads import ContinueHead, ContinuousPolicy, DiscretePolicy, PolicyHead, TwoHotHead
from .rssm import RSSM
from .vectors import NO_CLASSES, NumClasses


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
        discrete: bool = False,
        num_classes: NumClasses = NO_CLASSES,
        dtype: jnp.dtype = jnp.dtype("float32"),  # noqa: B008
        forms: Forms = Forms(),  # noqa: B008
        key: PRNGKeyArray,
    ):
        """Initialise all networks.

        Args:
            config: Sizes.
            shapes: Shape of each observation by its key, without batch axes.
            action_size: Number of action dimensions, or of actions if they are discrete.
            discrete: Whether an action is an integer in [0, action_size).
            num_classes: Number of classes of each categorical observation by its key.
            dtype: Compute dtype; parameters are float32 whatever it is.
            forms: Forms of computation.
            key: Random key.
        """
        encoder, rssm, decoder, reward, cont, policy, value = jr.split(key, 7)
        units, feat = config.dims.units, config.dims.deter + config.stoch * config.dims.classes
        self.encoder = Encoder(
            shapes, config, dtype=dtype, num_classes=num_classes, forms=forms, key=encoder
        )
        embed = self.encoder.embed_size
        self.rssm = RSSM(embed, action_size, config, dtype=dtype, forms=forms, key=rssm)
        self.decoder = Decoder(shapes, config, num_classes=num_classes, forms=forms, key=decoder)
        self.reward = TwoHotHead(feat, units=units, num_layers=config.reward_layers, key=reward)
        self.cont = ContinueHead(feat, units=units, num_layers=config.continue_layers, key=cont)
        make_policy = DiscretePolicy if discrete else ContinuousPolicy
        self.policy = make_policy(
            feat, action_size, units=units, num_layers=config.policy_layers, key=policy
        )
        self.value = TwoHotHead(feat, units=units, num_layers=config.value_layers, key=value)


def parameter_counts(model: Dreamer) -> dict[str, int]:
    """Count the trained parameters of each network, by its name."""
    return {
        name: sum(x.size for x in jax.tree.leaves(eqx.filter(module, eqx.is_array)))
        for name, module in vars(model).items()
    }
