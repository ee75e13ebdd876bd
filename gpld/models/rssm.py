"""Recurrent state-space model (Hafner et al., 2025, "World model learning").

The state of the world is a deterministic vector h_t (`deter`) and a stochastic table z_t
(`stoch`): `stoch` rows, each a one-hot over `classes`.

    sequence model   h_t = core(h_{t-1}, z_{t-1}, a_{t-1})
    posterior        q(z_t | h_t, x_t)
    prior            p(z_t | h_t)

Everything is written for one state or one sequence; `jax.vmap` adds the batch.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, PRNGKeyArray, UInt8

from ..config import ModelConfig
from .blocks import BlockLinear, each_block, normalise_blocks
from .distributions import OneHotCategorical, unimix_softmax
from .factored import FactoredMap
from .forms import BlockForm, Forms
from .layers import MLP, Hidden, Linear, RMSNorm, silu


class Latent(NamedTuple):
    """State of the world model, in the compute dtype."""

    deter: Float[Array, "*batch deter"]
    stoch: Float[Array, "*batch stoch classes"]

    def feat(self) -> Float[Array, " feat"]:
        """Model feature of one state: `deter`, then `stoch` flattened by rows."""
        return jnp.concatenate([self.deter, self.stoch.reshape(-1)])


class StoredLatent(NamedTuple):
    """A latent as replay keeps it: each one-hot row as the number of its class."""

    deter: Float[Array, "*batch deter"]
    classes: UInt8[Array, "*batch stoch"]


class Rollout(NamedTuple):
    """Posterior states along sequences, with embeddings and logits."""

    embed: Float[Array, "*batch embed"]
    latent: Latent
    posterior_logits: Float[Array, "*batch stoch classes"]


class BlockGRU(eqx.Module):
    """The sequence model: a gated recurrent unit with block-diagonal weights.

    Block g sees its own part of h and the embeddings of h, z and a, which every block
    shares. Reset gate, candidate and update gate of a block come from one product.
    """

    deter_in: Hidden
    stoch_in: Hidden
    action_in: Hidden
    hidden: BlockLinear
    norm: RMSNorm
    gates: BlockLinear
    blocks: int = eqx.field(static=True)
    form: BlockForm = eqx.field(static=True)

    def __init__(
        self,
        deter: int,
        stoch_size: int,
        action_size: int,
        *,
        hidden: int,
        blocks: int,
        form: BlockForm = "batched",
        key: PRNGKeyArray,
    ):
        dkey, skey, akey, hkey, gkey = jr.split(key, 5)
        width = deter // blocks
        self.deter_in = Hidden(deter, hidden, key=dkey)
        self.stoch_in = Hidden(stoch_size, hidden, key=skey)
        self.action_in = Hidden(action_size, hidden, key=akey)
        self.hidden = BlockLinear(blocks, width, width, shared=3 * hidden, form=form, key=hkey)
        self.norm = RMSNorm(deter)
        self.gates = BlockLinear(blocks, width, 3 * width, form=form, key=gkey)
        self.blocks, self.form = blocks, form

    def __call__(
        self,
        deter: Float[Array, " deter"],
        stoch: Float[Array, "stoch classes"],
        action: Float[Array, " action"],
    ) -> Float[Array, " deter"]:
        """h_t from h_{t-1}, z_{t-1} and the unclipped a_{t-1}."""
        action = action.astype(deter.dtype)
        # Actions are stored unclipped; values beyond +-1 become exactly +-1.
        action = action / jax.lax.stop_gradient(jnp.maximum(1, jnp.abs(action)))
        shared = jnp.concatenate(
            [
                self.deter_in(deter),
                self.stoch_in(stoch.reshape(-1)),
                self.action_in(action),
            ]
        )
        own = deter.reshape(self.blocks, -1)
        x = normalise_blocks(self.norm, self.hidden(own, shared), form=self.form)
        gates = self.gates(each_block(silu, x, form=self.form))
        return jnp.concatenate(each_block(_gated, own, gates, form=self.form))


def _gated(own: Float[Array, " width"], gates: Float[Array, " 3*width"]) -> Float[Array, " width"]:
    """The new state of a block, from its state and its gates."""
    reset, candidate, gate = jnp.split(gates, 3)
    candidate = jnp.tanh(jax.nn.sigmoid(reset) * candidate)
    gate = jax.nn.sigmoid(gate - 1)  # -1: remember by default
    return gate * candidate + (1 - gate) * own


class RSSM(eqx.Module):
    """Sequence model, prior and posterior over discrete latent states."""

    core: BlockGRU
    prior_mlp: MLP
    prior_out: Linear
    posterior_mlp: MLP
    posterior_out: Linear
    stoch: int = eqx.field(static=True)
    classes: int = eqx.field(static=True)
    unimix: float = eqx.field(static=True)
    dtype: jnp.dtype = eqx.field(static=True)
    forms: Forms = eqx.field(static=True)

    def __init__(
        self,
        embed: int,
        action_size: int,
        config: ModelConfig,
        *,
        dtype: jnp.dtype,
        forms: Forms = Forms(),  # noqa: B008
        key: PRNGKeyArray,
    ):
        """Initialise the model.

        Args:
            embed: Width of the encoder's output.
            action_size: Width of an encoded action.
            config: Sizes.
            dtype: Compute dtype of the states.
            forms: Forms of computation.
            key: Random key.
        """
        core_key, prior_key, prior_out_key, post_key, post_out_key = jr.split(key, 5)
        self.stoch, self.classes, self.unimix = config.stoch, config.dims.classes, config.unimix
        self.dtype, self.forms = jnp.dtype(dtype), forms
        deter, hidden, size = config.dims.deter, config.dims.hidden, self.stoch * self.classes
        self.core = BlockGRU(
            deter,
            size,
            action_size,
            hidden=hidden,
            blocks=config.blocks,
            form=forms.blocks,
            key=core_key,
        )
        self.prior_mlp = MLP(deter, hidden, config.prior_layers, key=prior_key)
        self.prior_out = Linear(hidden, size, key=prior_out_key)
        self.posterior_mlp = MLP(deter + embed, hidden, config.posterior_layers, key=post_key)
        self.posterior_out = Linear(hidden, size, key=post_out_key)

    @property
    def deter(self) -> int:
        """Width of the deterministic state."""
        return self.core.norm.scale.shape[-1]

    def initial(self) -> Latent:
        """The state before the first step of an episode: all zeros."""
        return Latent(
            jnp.zeros(self.deter, self.dtype),
            jnp.zeros((self.stoch, self.classes), self.dtype),
        )

    def prior_logits(self, deter: Float[Array, " deter"]) -> Float[Array, "stoch classes"]:
        """Logits of p(z_t | h_t), before unimix."""
        logits = self.prior_out(self.prior_mlp(deter))
        return logits.reshape(self.stoch, self.classes)

    def posterior_logits(
        self, deter: Float[Array, " deter"], embed: Float[Array, " embed"]
    ) -> Float[Array, "stoch classes"]:
        """Logits of q(z_t | h_t, x_t), before unimix."""
        logits = self.posterior_out(self.posterior_mlp(jnp.concatenate([deter, embed])))
        return logits.reshape(self.stoch, self.classes)

    def dist(self, logits: Float[Array, "stoch classes"]) -> OneHotCategorical:
        """Make the distribution over z_t from logits of prior or posterior."""
        return OneHotCategorical(logits, self.unimix)

    def prior_probs(self, deter: Float[Array, " deter"]) -> Float[Array, "stoch classes"]:
        """Class probabilities of p(z_t | h_t) after unimix; rows sum to one."""
        return self.dist(self.prior_logits(deter)).probs

    def posterior_probs(
        self, deter: Float[Array, " deter"], embed: Float[Array, " embed"]
    ) -> Float[Array, "stoch classes"]:
        """Class probabilities of q(z_t | h_t, x_t) after unimix; rows sum to one.

        The map whose Jacobian GPLD penalises (paper, equation 5).
        """
        return self.dist(self.posterior_logits(deter, embed)).probs

    def prior_map(self) -> FactoredMap:
        """`prior_probs` in the parts that its Jacobian factors into."""
        return self._factored(self.prior_mlp, self.prior_out)

    def posterior_map(self) -> FactoredMap:
        """`posterior_probs` in the parts that its Jacobian factors into."""
        return self._factored(self.posterior_mlp, self.posterior_out)

    def _factored(self, mlp: MLP, out: Linear) -> FactoredMap:
        output = lambda logits: unimix_softmax(logits, self.unimix)  # noqa: E731
        return FactoredMap(mlp.layers[0].linear, mlp.trunk, out, output, self.stoch)

    def observe(
        self,
        latent: Latent,
        embed: Float[Array, " embed"],
        action: Float[Array, " action"],
        is_first: Bool[Array, ""],
        *,
        key: PRNGKeyArray,
    ) -> tuple[Latent, Float[Array, "stoch classes"]]:
        """Take one posterior step: from the state at t - 1 to the state at t.

        Args:
            latent: State at t - 1; replaced by zeros where an episode begins at t.
            embed: Encoder output of the observation at t.
            action: Action taken after the observation at t - 1, encoded; replaced likewise.
            is_first: Whether an episode begins at t.
            key: Random key.

        Returns:
            The state at t, sampled with straight-through gradients, and the posterior's
            logits.
        """
        latent, action = jax.tree.map(
            lambda x: jnp.where(is_first, jnp.zeros_like(x), x), (latent, action)
        )
        deter = self.core(latent.deter, latent.stoch, action)
        logits = self.posterior_logits(deter, embed)
        stoch = self.dist(logits).sample(key).astype(self.dtype)
        return Latent(deter, stoch), logits

    def observe_sequence(
        self,
        latent: Latent,
        embed: Float[Array, "time embed"],
        prev_action: Float[Array, "time action"],
        is_first: Bool[Array, " time"],
        *,
        key: PRNGKeyArray,
    ) -> Rollout:
        """Infer the posterior states along one sequence; gradients flow through time.

        Args:
            latent: State before the first step.
            embed: Encoder outputs.
            prev_action: At t, the action taken after the observation at t - 1, encoded.
            is_first: Where episodes begin.
            key: Random key.

        Returns:
            States and posterior logits at every step, with a leading time axis.
        """

        def step(latent, inputs):
            *inputs, key = inputs
            latent, logits = self.observe(latent, *inputs, key=key)
            return latent, (latent, logits)

        length = embed.shape[0]
        inputs = (embed, prev_action, is_first, jr.split(key, length))
        unroll = self.forms.unroll_of(length)
        _, (latents, logits) = jax.lax.scan(step, latent, inputs, unroll=unroll)
        return Rollout(embed, latents, logits)

    def imagine(
        self, latent: Latent, action: Float[Array, " action"], *, key: PRNGKeyArray
    ) -> Latent:
        """Imagine one step after an encoded action: sample the next state from the prior."""
        deter = self.core(latent.deter, latent.stoch, action)
        stoch = self.dist(self.prior_logits(deter)).sample(key)
        return Latent(deter, stoch.astype(self.dtype))

    def store(self, latent: Latent) -> StoredLatent:
        """Compress a sampled latent for replay, without loss.

        Only a state that was sampled can be stored: the zeros of `initial` are not.
        """
        classes = jnp.argmax(latent.stoch, axis=-1).astype(jnp.uint8)
        return StoredLatent(latent.deter, classes)

    def restore(self, stored: StoredLatent) -> Latent:
        """Restore a latent that `store` compressed."""
        stoch = jax.nn.one_hot(stored.classes, self.classes, dtype=self.dtype)
        return Latent(stored.deter.astype(self.dtype), stoch)
