"""Functional environments by the names of their tasks.

JAX and MJX are imported with the first environment, not before.
"""

from . import probe
from .backend import Implementation, choose_backend
from .functional.env import FunctionalEnv, FunctionalVectorEnv
from .registry import env_factory


def make_functional_env(
    task: str,
    *,
    num_envs: int,
    action_repeat: int = 1,
    impl: Implementation = "jax",
    stagger: bool = False,
    num_copies: int = 1,
) -> FunctionalVectorEnv:
    """Makes environments that programs can hold.

    Args:
        task: A task of the suite that MJX can simulate, or one of some probes.
        num_envs: Number of environments, at least 1.
        action_repeat: Control steps per environment step, at least 1; 1 for a probe.
        impl: Which implementation of MJX takes the steps.
        stagger: Whether the first episode of each environment ends early, after a random
            number of steps.
        num_copies: For how many agents a program maps them.

    Raises:
        ValueError: If there is no such task, or an argument is not allowed with it.
        MachineError: If the implementation does not work here.
    """
    from .functional.auto_reset import AutoReset

    env_factory(task, action_repeat=action_repeat)  # checks both
    choose_backend(task, "mjx")
    env = functional_env(
        task, action_repeat=action_repeat, impl=impl, max_envs=num_envs * num_copies
    )
    return AutoReset(env, num_envs, stagger=stagger)


def functional_env(
    task: str, *, action_repeat: int, impl: Implementation, max_envs: int
) -> FunctionalEnv:
    """Makes one environment, for programs that map it themselves.

    Args:
        task: As for `make_functional_env`, like the next two.
        action_repeat: Control steps per environment step.
        impl: Which implementation of MJX takes the steps; of no account for a probe.
        max_envs: Most environments that a program maps it to.

    Raises:
        ValueError: If an argument is not allowed with the task.
        MachineError: If the implementation does not work here.
    """
    if task in probe.TASKS:
        from .functional.probe import TASKS

        return TASKS[task]()
    from .mjx import MJXEnv

    return MJXEnv(task, action_repeat=action_repeat, impl=impl, max_envs=max_envs)
