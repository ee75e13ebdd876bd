"""Environments: tasks by name, one at a time or many together."""

from ..suite import canonical_name as canonical_name
from .backend import Backend as Backend, choose_backend as choose_backend
from .failures import WorkerError as WorkerError
from .functional.env import FunctionalEnv as FunctionalEnv
from .own import (
    found_by_name as found_by_name,
    in_workers as in_workers,
    is_own as is_own,
    name_of as name_of,
    register as register,
    runs_code as runs_code,
)
from .registry import (
    CompleteOptions as CompleteOptions,
    EnvOptions as EnvOptions,
    env_factory as env_factory,
    env_seed as env_seed,
    make_env as make_env,
    make_functional_env as make_functional_env,
    make_vector_env as make_vector_env,
    task_names as task_names,
)
from .spec_json import spec_from_json as spec_from_json, spec_to_json as spec_to_json
from .timestep import (
    IMAGE as IMAGE,
    ArraySpec as ArraySpec,
    Environment as Environment,
    EnvSpec as EnvSpec,
    EnvState as EnvState,
    TimeStep as TimeStep,
    check_same as check_same,
)
from .vector.vector import VectorEnv as VectorEnv
