"""Cost of the penalty alone: every estimator, literally and through the Gram identity."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr

from .. import agent
from ..config import Config, EstimatorName
from ..losses import draw_probes, for_mean, gradient_penalty, gram_penalty
from ..xla.optimise import Choices, optimise
from .choices import describe
from .measure import Case, measure
from .report import Report
from .update import ACTION_SIZE, observation_shapes

BASELINE = "forward and backward"


def benchmark_penalty(config: Config, *, repetitions: int, thorough: bool) -> Report:
    """Times the penalty of the posterior with its gradient by parameters and inputs.

    Args:
        config: Settings: sizes of the model and the batch, rho, probes.
        repetitions: How often everything is timed.
        thorough: Whether to time the exact norms as well, which take long.

    Returns:
        The report; ratios refer to one plain forward and backward pass of the posterior
        over the same states.
    """
    states = max(1, int(config.gpld.rho * config.replay.batch_size * config.replay.batch_length))
    shapes = observation_shapes(config)
    model = eqx.filter_jit(agent.init)(config, shapes, ACTION_SIZE, key=jr.key(0)).model
    rssm = model.rssm
    in_turn = functools.partial(gram_penalty, row_by_row=rssm.forms.row_by_row)
    deter = jnp.tanh(jr.normal(jr.key(1), (states, rssm.deter))).astype(rssm.dtype)
    embed = jax.nn.silu(jr.normal(jr.key(2), (states, model.encoder.embed_size)))
    embed = embed.astype(rssm.dtype)
    # In the precision and form of a whole update.
    with_gradient = functools.partial(_with_gradient, chosen=agent.choices(config))
    fn, inputs = rssm.posterior_map(), (deter, embed)
    weights = jr.normal(jr.key(3), (states, rssm.stoch, rssm.classes))
    plain = lambda fn, inputs: jnp.mean(jax.vmap(fn)(*inputs) * weights)  # noqa: E731
    cases = {BASELINE: Case(with_gradient(plain), (fn, inputs), BASELINE)}
    estimators: list[EstimatorName] = ["rowwise", "joint", "forward"]
    if thorough:
        estimators.append("exact")
    for name in estimators:
        # As in training, which wants the mean over rows alone.
        table, estimator = for_mean(fn, name)
        probes = _probes(table, inputs, estimator, config)
        for path, transform in (("literal", gradient_penalty), ("gram", in_turn)):
            penalty = _mean_norm(transform, estimator, rssm.stoch)
            args = (table, inputs, probes)
            cases[f"{name}, {path}"] = Case(with_gradient(penalty), args, BASELINE)
    settings = describe(config) | {
        "states": states,
        "rows": rssm.stoch,
        "classes": rssm.classes,
        "hidden": config.model.dims.hidden,
        "inputs": rssm.deter + embed.shape[1],
        "num_probes": config.gpld.num_probes,
        "repetitions": repetitions,
    }
    measurements = measure(cases, repetitions=repetitions)
    return Report("penalty", settings, measurements)


def _probes(fn, inputs, estimator, config):
    def draw(key, *inputs):
        num_probes = config.gpld.num_probes
        return draw_probes(fn, inputs, estimator=estimator, num_probes=num_probes, key=key)

    return jax.jit(jax.vmap(draw))(jr.split(jr.key(4), inputs[0].shape[0]), *inputs)


def _mean_norm(transform, estimator: EstimatorName, num_rows: int):
    def penalty(fn, inputs, probes):
        estimate = transform(fn, estimator=estimator)
        norms = jax.vmap(lambda inputs, probes: estimate(*inputs, probes=probes))
        return jnp.sum(jnp.mean(norms(inputs, probes), axis=0)) / num_rows

    return penalty


def _with_gradient(function, *, chosen: Choices):
    """Value and gradient by the first two arguments: the map's parameters and its inputs."""

    def run(fn, inputs, *rest):
        return eqx.filter_value_and_grad(lambda args: function(*args, *rest))((fn, inputs))

    return optimise(run, chosen)
