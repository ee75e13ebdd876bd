"""Tasks of the DeepMind Control suite as pure functions, simulated by MJX."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ..backend import Implementation, check_implementation
from ..rewards import make_task
from ..timestep import EnvSpec, TimeStep
from .model import load_model
from .simulation import Simulation, SimulationState
from .starts import drawing
from .warp import check_warp

# Beyond it MuJoCo gives a simulation up, and dm_control raises an exception.
_MAX_VALUE = 1e10


class MJXState(NamedTuple):
    """State of one environment."""

    simulation: SimulationState
    elapsed: Int[Array, ""]
    """Control steps since the reset."""

    timestep: TimeStep


class MJXEnv:
    """One task of the suite as a `FunctionalEnv`; `AutoReset` makes many of it.

    Observations, rewards, initial states, limits and the order of computations are those of
    `DMControl`, which says more about them; results differ by rounding. An episode whose
    physics diverges is truncated as there. So is one with an action that is not finite:
    a compiled program cannot raise an exception.

    Attributes:
        spec: Shapes and sizes of the task.
    """

    spec: EnvSpec

    def __init__(
        self, task: str, *, action_repeat: int = 2, impl: Implementation = "jax", max_envs: int = 1
    ):
        """Build the task.

        Args:
            task: One of `gpld.envs.rewards.COVERED`, or `cup_catch`.
            action_repeat: Control steps per environment step, at least 1; see `DMControl`.
            impl: What takes the steps of the simulator: JAX, or Warp on an NVIDIA GPU, which
                has its own collisions and float32 alone.
            max_envs: How many environments at most are stepped together, at least 1; only
                Warp has to know.

        Raises:
            ValueError: If `task` is not covered, there is no such `impl`, or a number is out of
                range.
            MachineError: If Warp is wanted and cannot run here.
        """
        check_implementation("impl", impl)
        if max_envs < 1:
            raise ValueError(f"`max_envs` must be at least 1, got {max_envs}.")
        model = load_model(task, action_repeat)
        if impl == "warp":
            check_warp()
        self.spec, self.model = model.spec, model
        self.simulation = Simulation(model, impl, max_envs)
        self.task = make_task(model.name, model.model)
        self._draw = drawing(self.simulation)

    def reset(self, key: PRNGKeyArray) -> MJXState:
        """Start an episode from a newly drawn initial state."""
        return self.begin(self._draw(key))

    def begin(self, state: SimulationState) -> MJXState:
        """Start an episode from an initial state."""
        flag = jnp.zeros((), bool)
        observation = self._observe(self.simulation.look(state))
        timestep = TimeStep(observation, jnp.zeros((), jnp.float32), ~flag, flag, flag)
        return MJXState(state, jnp.zeros((), jnp.int32), timestep)

    def step(self, state: MJXState, action: Float[Array, " action"]) -> MJXState:
        """Apply `action` for up to `spec.action_repeat` control steps."""
        ctrl = self.control(action)

        def control_step(carry, _):
            simulation, elapsed, _, reward, fine = carry
            next_simulation, physics = self.simulation.step(simulation, ctrl)
            gain = self.task.reward(physics).astype(jnp.float32)
            next_observation = self._observe(physics)
            # Of sound physics, what is not finite is returned as it is, as dm_control's is.
            fine &= _is_fine(next_simulation)
            new = next_simulation, elapsed + 1, next_observation, reward + gain, fine
            # The end of an episode cuts the repetition short.
            ended = elapsed == self.model.control_steps
            return jax.tree.map(lambda old, new: jnp.where(ended, old, new), carry, new), None

        last = state.timestep.observation
        start = state.simulation, state.elapsed, last, jnp.zeros((), jnp.float32), jnp.array(True)
        end, _ = jax.lax.scan(control_step, start, length=self.spec.action_repeat)
        simulation, elapsed, observation, reward, fine = end
        timestep = TimeStep(
            observation={k: jnp.where(fine, observation[k], last[k]) for k in observation},
            reward=jnp.where(fine, reward, 0),
            is_first=jnp.array(False),
            is_last=~fine | (elapsed == self.model.control_steps),
            is_terminal=jnp.array(False),
        )
        return MJXState(simulation, elapsed, timestep)

    def control(self, action: Float[Array, " action"]) -> Float[Array, " action"]:
        """Return the control, in units of the actuators, that an action stands for."""
        dtype = self.simulation.dtype
        low, high = (jnp.asarray(limit, dtype) for limit in (self.model.low, self.model.high))
        fraction = (jnp.clip(action, -1, 1).astype(dtype) + 1) / 2
        return fraction * (high - low) + low

    def _observe(self, physics: Any) -> dict[str, Array]:
        arrays = self.task.observe(physics)
        return {key: arrays[key].astype(jnp.float32) for key in self.spec.observation}


def _is_fine(tree: Any) -> Bool[Array, ""]:
    """Return whether no number is infinite, undefined or larger than MuJoCo allows."""
    return jnp.all(jnp.stack([jnp.all(abs(x) <= _MAX_VALUE) for x in jax.tree.leaves(tree)]))
