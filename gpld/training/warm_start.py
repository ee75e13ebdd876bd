"""Networks that begin with the parameters of another run (paper, appendix D.2)."""

import dataclasses
from pathlib import Path

import equinox as eqx
import jax

from ..agent import AgentState
from ..config import InitConfig
from ..errors import UsageError
from ..evaluation import trained_agent
from ..models import DiscretePolicy, Dreamer
from ..runs.zoo import is_of_zoo

_OF_ACTIONS = ("rssm", "policy")
"""Networks that take or give actions."""


def absolute(config: InitConfig) -> InitConfig:
    """Return settings that name the same run, whatever becomes the working directory."""
    run = config.from_
    if run is None or is_of_zoo(run):
        return config
    return dataclasses.replace(config, from_=str(Path(run).absolute()))


def warm_start(state: AgentState, config: InitConfig) -> AgentState:
    """Return a new agent, some of whose networks another run has trained.

    Everything else stays new: the other networks, the moments of the optimiser, all counts
    and the percentiles of returns. With the value its slow copy begins as that of a new agent
    does, equal to it.

    Args:
        state: The new agent.
        config: The other run and the networks to take; the agent itself if it names no run.

    Raises:
        UsageError: If there is no such run, or its networks are for other actions or have other
            sizes.
        MachineError: If its last checkpoint is damaged, or there is none.
    """
    if config.from_ is None:
        return state
    donor = trained_agent.load(config.from_).state.model
    wrong = f"`--init.from` {config.from_} does not fit"
    taken = [name for name in config.modules if name in _OF_ACTIONS]
    theirs, ours = _describe_actions(donor), _describe_actions(state.model)
    if taken and theirs != ours:
        raise UsageError(
            f"{wrong}: {' and '.join(taken)} cannot be taken from a run with {theirs} for one with "
            f"{ours}; name others with `--init.modules`."
        )
    model = eqx.tree_at(
        lambda model: [getattr(model, name) for name in config.modules],
        state.model,
        [
            _with_arrays(getattr(state.model, name), getattr(donor, name), f"{wrong}: {name}")
            for name in config.modules
        ],
    )
    slow_value = model.value if "value" in config.modules else state.slow_value
    return dataclasses.replace(state, model=model, slow_value=slow_value)


def _describe_actions(model: Dreamer) -> str:
    kind = "discrete" if isinstance(model.policy, DiscretePolicy) else "continuous"
    return f"{model.policy.size} {kind} actions"


def _with_arrays(network: eqx.Module, donor: eqx.Module, wrong: str) -> eqx.Module:
    """Return a network with the arrays of another; how it is computed stays its own.

    Args:
        network: The network.
        donor: The other one.
        wrong: Beginning of an error.

    Raises:
        UsageError: If an array has another shape.
    """
    arrays, rest = eqx.partition(network, eqx.is_array)
    taken = eqx.filter(donor, eqx.is_array)
    here, there = (
        {jax.tree_util.keystr(path): x.shape for path, x in jax.tree.leaves_with_path(tree)}
        for tree in (arrays, taken)
    )
    for path in dict.fromkeys([*here, *there]):
        if here.get(path) != there.get(path):
            raise UsageError(
                f"{wrong}{path} has shape {there.get(path, 'none')} there and "
                f"{here.get(path, 'none')} here."
            )
    arrays = jax.tree.unflatten(jax.tree.structure(arrays), jax.tree.leaves(taken))
    return eqx.combine(arrays, rest)
