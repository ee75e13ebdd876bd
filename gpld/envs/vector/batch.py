"""Environments that MuJoCo steps together, on threads, bit for bit as dm_control would."""

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import mujoco.batch
import numpy as np
from jaxtyping import Float32

from ..dmc.env import DMControl, convert
from ..dmc.state import PHYSICS, same_bits, task_state
from ..rewards import Physics, make_task
from ..timestep import EnvState, TimeStep
from .group import LOST, Actions, Group, Mask

_mujoco: Any = mujoco  # compiled, and unknown to pyright
# What dm_control's legacy step leaves behind: positions and velocities of the new state.
_STAGE = _mujoco.mjtStage.mjSTAGE_VEL.value


class BatchGroup(Group):
    """Environments stepped by MuJoCo's batched engine; the results are those of `DMControl`.

    dm_control resets, each environment with random numbers of its own; MuJoCo's batch engine
    steps; observations and rewards come from `rewards`, for all environments at once. States
    are those of `DMControl`, so either engine continues what the other has begun.

    A thread steps after `start`, mostly without holding Python's lock.
    """

    def __init__(self, task: str, seeds: Sequence[int], *, action_repeat: int, threads: int = 1):
        """Build the simulations.

        Args:
            task: One of `rewards.COVERED`.
            seeds: One per environment, at least one, as for `DMControl`.
            action_repeat: Control steps per environment step, at least 1.
            threads: Threads that share the simulations, at least 1; they change no result.

        Raises:
            ValueError: If `task` is not covered, or a seed or `action_repeat` is out of range.
        """
        self._dmc = DMControl(task, action_repeat=action_repeat, seed=seeds[0])
        self._env = self._dmc._env
        self.spec, self.num_envs = self._dmc.spec, len(seeds)
        self._seeds = list(seeds)
        self._randoms = [np.random.RandomState(seed) for seed in seeds]

        # Some constants, such as finger_spin's damping, are written by the first reset.
        self._env.task._random = np.random.RandomState(0)
        self._env.reset()
        self._substeps, self._limit = self._env._n_sub_steps, self._env._step_limit
        self._model = self._env.physics.model.ptr
        self._task = make_task(self._dmc.name, self._model)
        num_threads = min(threads, self.num_envs)
        self._batch = mujoco.batch.Batch(self._model, self.num_envs, num_threads, persistent=True)
        self._drawn = {name: self._batch.expand(name) for name in self._task.drawn}
        self._built = self._dmc._snapshots.built
        changed = self._dmc._snapshots.take()["model"]
        self._constants = {k: v for k, v in changed.items() if k not in self._drawn}

        self._physics = _bind(self._batch)
        self._num_warnings = self._batch.warning[..., 1]
        self._steps = np.zeros(self.num_envs, np.int64)
        self._reset_next = np.ones(self.num_envs, bool)
        self._observation = {
            key: np.zeros((self.num_envs, *array.shape), array.dtype)
            for key, array in self.spec.observation.items()
        }
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="envs")

    def send(self, action: Actions, skip: Mask, reset: Mask | None = None) -> None:
        """Set what the next step does."""
        if reset is not None:
            self._reset_next = self._reset_next | reset
        self._step = functools.partial(self._advance, action.copy(), skip)

    def start(self) -> None:
        """Begin the step in the thread; waking it costs as much as some steps."""
        self._step = self._thread.submit(self._step).result

    def recv(self) -> TimeStep:
        """Step, or wait for the thread; one that is skipped is as in an `EnvGroup`.

        Raises:
            ValueError: If an action was not finite.
        """
        return self._step()

    def get_states(self) -> list[EnvState]:
        """Return the state of each environment in order, and whether the next step resets it."""
        return [
            {
                "env": {
                    "name": self._dmc.name,
                    "seed": self._seeds[i],
                    "observation": {key: x[i].copy() for key, x in self._observation.items()},
                    "physics": self._batch.state[i].copy(),
                    "model": self._changed(i),
                    "task": task_state(self._env.task),
                    "random": self._randoms[i].get_state(legacy=False),
                    "step_count": int(self._steps[i]),
                    "reset_next_step": bool(self._reset_next[i]),
                },
                "reset_next": bool(self._reset_next[i]),
            }
            for i in range(self.num_envs)
        ]

    def set_states(self, states: Sequence[EnvState]) -> None:
        """Continue from `states`, one per environment.

        Raises:
            ValueError: If one is of another task.
        """
        # What was returned is not changed.
        observation = {key: x.copy() for key, x in self._observation.items()}
        self._reset_next = self._reset_next.copy()
        for i, state in enumerate(states):
            if state.keys() == LOST.keys():  # it stays as it was made
                self._reset_next[i] = True
                continue
            env = state["env"]
            self._dmc.check_state(env)
            self._seeds[i] = env["seed"]
            for key, value in env["observation"].items():  # none before the first reset
                observation[key][i] = value
            self._batch.state[i] = env["physics"]
            for name, rows in self._drawn.items():
                rows[i] = env["model"].get(name, self._built[name])
            self._randoms[i].set_state(env["random"])
            self._steps[i] = env["step_count"]
            self._reset_next[i] = state["reset_next"]
        self._observation = observation
        self._num_warnings[...] = 0

    def close(self) -> None:
        """Wait for a step that was sent, and free the simulations."""
        self._thread.shutdown()
        self._dmc.close()

    def _advance(self, action: Actions, skip: Mask) -> TimeStep:
        reset = self._reset_next & ~skip
        run = ~(self._reset_next | skip)
        # What has diverged may be of any size.
        with np.errstate(all="ignore"):
            reward, diverged = self._simulate(action, run)
            observation = {
                key: value.astype(np.float32)
                for key, value in self._task.observe(self._physics).items()
            }
        if diverged.any():
            reward[diverged] = 0
            for key, value in observation.items():
                value[diverged] = self._observation[key][diverged]
        if reset.any():
            for i in np.flatnonzero(reset).tolist():
                for key, value in self._reset(i).items():
                    observation[key][i] = value
        self._observation = observation
        self._reset_next = skip | diverged | run & (self._steps >= self._limit)
        if skip.any():
            observation = {key: value.copy() for key, value in observation.items()}
            for value in observation.values():
                value[skip] = 0
        return TimeStep(
            observation,
            reward=reward,
            is_first=reset,
            is_last=self._reset_next,
            is_terminal=np.zeros(self.num_envs, bool),
        )

    def _simulate(
        self, action: Actions, run: Mask
    ) -> tuple[Float32[np.ndarray, " num_envs"], Mask]:
        """Step the environments of `run`; return sums of rewards, and which have diverged."""
        reward = np.zeros(self.num_envs, np.float32)
        diverged = np.zeros(self.num_envs, bool)
        if not run.any():
            return reward, diverged
        finite = np.isfinite(action)
        if not finite.all() and not finite[run].all():
            wrong = action[run & ~finite.all(axis=1)]
            raise ValueError(f"`action` must be finite, got {wrong[0]}.")
        np.copyto(self._physics.ctrl, self._dmc.control(action), where=run[:, None])
        for _ in range(self.spec.action_repeat):
            self._batch.step(None if run.all() else run, self._substeps, _STAGE)
            self._steps += run
            np.add(reward, self._task.reward(self._physics).astype(np.float32), reward, where=run)
            # The counters are at 0 when an episode begins, and one that counts ends it.
            if self._num_warnings.any():
                diverged |= run & self._num_warnings.any(axis=1)
            run = run & ~diverged & (self._steps < self._limit)
            if not run.any():
                break
        return reward, diverged

    def _reset(self, i: int) -> dict[str, np.ndarray]:
        """Start an episode by dm_control's own code; return its first observation."""
        self._env.task._random = self._randoms[i]
        timestep = self._env.reset()
        self._batch.state[i] = self._env.physics.get_state(sig=PHYSICS)
        self._num_warnings[i] = 0
        for name, rows in self._drawn.items():
            rows[i] = getattr(self._model, name)
        self._steps[i] = 0
        return convert(timestep.observation)

    def _changed(self, i: int) -> dict[str, np.ndarray]:
        """Return the arrays of an environment's model that differ from those it was built with."""
        drawn = {name: rows[i].copy() for name, rows in self._drawn.items()}
        return {
            name: value
            for name, value in (self._constants | drawn).items()
            if not same_bits(value, self._built[name])
        }


def _bind(batch: mujoco.batch.Batch) -> Physics:
    """Return live arrays, which hold the newest state of all simulations, for tasks."""
    arrays = {name: batch.bind(name) for name in Physics._fields}
    for name in ("xmat", "geom_xmat"):
        arrays[name] = arrays[name].reshape(batch.nsim, -1, 3, 3)
    return Physics(**arrays)
