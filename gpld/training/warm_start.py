"""Networks that begin with the parameters of another run (paper, appendix D.2)."""

import dataclasses
from pathlib import Path

import equinox as eqx
import jax
from jaxtyping import PyTree

from ..agent import AgentState
from ..config import InitConfig
from ..errors import UsageError
from ..evaluation import trained_agent


def absolute(config: InitConfig) -> InitConfig:
    """Return settings that name the same run, whatever becomes the working directory."""
    run = config.from_
    return config if run is None else dataclasses.replace(config, from_=str(Path(run).absolute()))


def warm_start(state: AgentState, config: InitConfig) -> AgentState:
    """Return a new agent, some of whose networks another run has trained.

    Everything else stays new: the other networks, the moments of the optimiser, all counts
    and the percentiles of returns. With the value its slow copy begins as that of a new agent
    does, equal to it.

    Args:
        state: The new agent.
        config: The other run and the networks to take; the agent itself if it names no run.

    Raises:
        UsageError: If there is no such run, or its networks have other sizes.
        MachineError: If its last checkpoint is damaged, or there is none.
    """
    if config.from_ is None:
        return state
    donor = trained_agent.load(Path(config.from_)).state.model
    for name in config.modules:
        _check_sizes(name, getattr(donor, name), getattr(state.model, name), config.from_)
    model = eqx.tree_at(
        lambda model: [getattr(model, name) for name in config.modules],
        state.model,
        [getattr(donor, name) for name in config.modules],
    )
    slow_value = model.value if "value" in config.modules else state.slow_value
    return dataclasses.replace(state, model=model, slow_value=slow_value)


def _check_sizes(name: str, theirs: PyTree, ours: PyTree, run: str) -> None:
    there, here = (
        {jax.tree_util.keystr(path): x.shape for path, x in jax.tree.leaves_with_path(arrays)}
        for arrays in eqx.filter((theirs, ours), eqx.is_array)
    )
    for path in dict.fromkeys([*here, *there]):
        if here.get(path) != there.get(path):
            raise UsageError(
                f"`--init.from` {run} does not fit: {name}{path} has shape "
                f"{there.get(path, 'none')} there and {here.get(path, 'none')} here."
            )
