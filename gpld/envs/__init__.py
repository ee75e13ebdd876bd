"""Environments: tasks by name, one at a time or many together."""

from .registry import (
    env_factory as env_factory,
    env_seed as env_seed,
    make_env as make_env,
    make_vector_env as make_vector_env,
    task_names as task_names,
)
from .timestep import (
    ArraySpec as ArraySpec,
    Environment as Environment,
    EnvSpec as EnvSpec,
    EnvState as EnvState,
    TimeStep as TimeStep,
)
from .vector import VectorEnv as VectorEnv
from .worker import WorkerError as WorkerError
