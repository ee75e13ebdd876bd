"""A study without an agent: does the penalty make a world model predict better from few data?

Stored episodes, whose making is fixed, are divided into some to learn from and some held out. World
models learn from the first 2,000, 5,000 and 20,000 frames, with and without the penalty, and are
measured on the held-out ones. Everything is in one folder:

    data/TASK/episodes/    recorded episodes, data/TASK/held_out/ those that no model learns from
    data/TASK/5000/        a replay of the first 5,000 frames, for `--offline`
    runs/TASK/5000/        a sweep: all arms and seeds that learn from it
"""

import itertools
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Shaped

from ..analysis.prediction_error import (
    FIRST_MOMENT,
    HORIZONS,
    Episodes,
    prediction_error,
)
from ..analysis.prediction_report import BASELINE, RESULT, ROWWISE
from ..checkpoints import checkpoint
from ..datasets import Episode, NpzSource, import_episodes
from ..envs import make_env
from ..errors import UsageError
from ..evaluation.trained_agent import TrainedAgent, load
from ..machine.files import check_folder, read_json, write_json, writing
from ..runs.folder import RunFolder
from ..runs.zoo import open_run
from ..seeding import derive_seed
from .spec import Sweep

_PAPER = {"gpld.lambda0": 0.5, "gpld.estimator": "rowwise", "gpld.target": "posterior"}

ARMS: Mapping[str, Mapping[str, Any]] = {
    BASELINE: _PAPER | {"gpld.lambda0": 0.0},
    ROWWISE: _PAPER,
    "joint": _PAPER | {"gpld.estimator": "joint"},
    "prior and posterior": _PAPER | {"gpld.target": "both"},
    "lambda0 0.1": _PAPER | {"gpld.lambda0": 0.1},
    "lambda0 2": _PAPER | {"gpld.lambda0": 2.0},
}
"""Settings of each arm, by its name in pictures and tables."""

ALL_ARMS_AT = 5_000
FRAMES = (2_000, ALL_ARMS_AT, 20_000)
"""Frames to learn from; but for `ALL_ARMS_AT` only the first two arms do."""

HELD_OUT_EPISODES = 10

_BEGUN = "recording"  # a file that is there while episodes are recorded

# Of the actions of one episode after another: half of them, none, all.
_RANDOM = (0.5, 0.0, 1.0)


class Study(NamedTuple):
    """The study: its tasks, and how long and how often world models learn."""

    root: Path
    agents: Mapping[str, str]
    """Run or `zoo:NAME` of the agent that records the episodes, by task."""

    preset: str
    seeds: int
    env_steps: int
    """Env steps whose updates a run makes, at the train ratio of the preset."""

    def data(self, task: str, frames: int) -> Path:
        """Return the folder of a replay to learn from."""
        return self.root / "data" / task / str(frames)

    def sweeps(self) -> list[tuple[Path, Sweep]]:
        """Return the runs of each task and number of frames, with the folder of each sweep."""
        sweeps = []
        for task, frames in itertools.product(self.agents, FRAMES):
            arms = ARMS
            if frames != ALL_ARMS_AT:
                arms = {name: ARMS[name] for name in (BASELINE, ROWWISE)}
            settings = {
                "offline": str(self.data(task, frames).absolute()),
                "learn": "world_model",
                "env_steps": self.env_steps,
                "env.action_repeat": open_run(self.agents[task]).config().action_repeat,
                "evaluation.predictions": 0,
            }
            sweep = Sweep([task], arms, range(self.seeds), self.preset, settings)
            sweeps.append((self.root / "runs" / task / str(frames), sweep))
        return sweeps


class _First(NamedTuple):
    """The first episodes of a source."""

    source: NpzSource
    number: int

    @property
    def task(self) -> str:
        return self.source.task

    def max_steps(self) -> int:
        return self.source.max_steps()

    def episodes(self) -> Iterator[tuple[str, Callable[[], Episode]]]:
        return itertools.islice(self.source.episodes(), self.number)


def make_data(study: Study, say: Callable[[str], None]) -> None:
    """Record the episodes of every task that has none yet, and make replays of them.

    An agent acts, and of its actions half, none and all are replaced by uniformly random ones,
    in one episode after the other.

    Raises:
        UsageError: If a task has discrete actions or images, or episodes that end early or are too
            short to predict in; or if another agent has recorded there, or there are other files.
    """
    for task, name in study.agents.items():
        home = study.root / "data" / task
        if (home / "made.json").exists():
            before = read_json(home / "made.json").get("agent")
            if before != name:
                raise UsageError(
                    f"`agents` must name {before}, which recorded {home}, got {name}; name another "
                    "folder with `--out`."
                )
            continue
        if (home / _BEGUN).exists():  # by a process that was killed
            shutil.rmtree(home)
        check_folder(home)
        if other := next(home.iterdir(), None):
            raise UsageError(
                f"{home} must be empty for recorded episodes, but it holds {other.name}; name "
                "another folder with `--out`."
            )
        (home / _BEGUN).touch()
        say(_record(home, load(name)))
        with writing(home):
            write_json(home / "made.json", {"agent": name})
            (home / _BEGUN).unlink()


def _record(home: Path, agent: TrainedAgent) -> str:
    """Record the episodes of one task and make its replays; say how many there are."""
    task = agent.config.task
    env = make_env(task, seed=0, **agent.config.env_options).spec
    if env.discrete or any(len(array.shape) > 1 for array in env.observation.values()):
        raise UsageError(f"{task} must have continuous actions and vectors to observe.")
    if env.episode_steps is None or env.episode_steps < FIRST_MOMENT:
        raise UsageError(
            f"Episodes of {task} must have {FIRST_MOMENT} env steps at least, to be predicted, got "
            f"{env.episode_steps}."
        )
    per_episode = env.episode_steps * env.action_repeat
    number = -(-max(FRAMES) // per_episode)
    for folder, count, offset in (
        ("episodes", number, 0),
        ("held_out", HELD_OUT_EPISODES, 1_000_000),
    ):
        (home / folder).mkdir()
        for index in range(count):
            arrays = record_episode(
                agent, randomness=_RANDOM[index % len(_RANDOM)], seed=offset + index
            )
            if len(arrays["reward"]) != env.episode_steps:
                raise UsageError(
                    f"Episodes of {task} must all have {env.episode_steps} env steps, got one of "
                    f"{len(arrays['reward'])}."
                )
            with writing(home):
                np.savez_compressed(
                    home / folder / f"{index:03d}.npz", allow_pickle=False, **arrays
                )
    for frames in FRAMES:
        source = _First(NpzSource(home / "episodes"), -(-frames // per_episode))
        import_episodes(source, home / str(frames), task=task, action_repeat=env.action_repeat)
    return f"recorded {number} episodes of {task} to learn from and {HELD_OUT_EPISODES} to predict"


def record_episode(
    agent: TrainedAgent, *, randomness: float, seed: int
) -> dict[str, Shaped[np.ndarray, "..."]]:
    """Play one episode, in which some actions are random, in the layout of `import-data`.

    Args:
        agent: The agent.
        randomness: Probability with which an action is drawn uniformly.
        seed: Seeds the environment, the agent and the random actions.
    """
    config, own = agent.config, derive_seed(seed, "prediction study")
    rng = np.random.default_rng(own)
    env = make_env(config.task, seed=own, **config.env_options)
    step, state = env.reset(), agent.initial_state(seed=own)
    steps, actions = [step], []
    while not step.is_last:
        action, state = agent.act(step, state)
        if rng.random() < randomness:
            action = rng.uniform(-1, 1, action.shape).astype(np.float32)
        action = np.clip(action, -1, 1)
        # What it remembers to have done is what was done.
        policy = state.policy._replace(action=jnp.asarray(action)[None])
        state = state._replace(policy=policy)
        step = env.step(action)
        steps.append(step)
        actions.append(action)
    observation = {
        f"observation/{name}": np.stack([step.observation[name] for step in steps])
        for name in steps[0].observation
    }
    return {
        **observation,
        "action": np.stack(actions),
        "action_low": np.array(-1, np.float32),
        "action_high": np.array(1, np.float32),
        "reward": np.array([step.reward for step in steps[1:]], np.float32),
        "terminated": np.array([step.is_terminal for step in steps[1:]]),
    }


def read_episodes(folder: Path) -> Episodes:
    """Read recorded episodes, all of one length."""
    loaded = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as arrays:
            loaded.append(dict(arrays))
    stacked = {name: np.stack([arrays[name] for arrays in loaded]) for name in loaded[0]}
    action, reward = stacked["action"], stacked["reward"]
    # There is an observation more than actions and rewards.
    return Episodes(
        {name.removeprefix("observation/"): x for name, x in stacked.items() if "/" in name},
        action=np.concatenate([action, np.zeros_like(action[:, :1])], axis=1),
        reward=np.concatenate([np.zeros_like(reward[:, :1]), reward], axis=1),
    )


def measure_run(study: Study, run: Path, task: str, frames: int) -> None:
    """Measure a trained world model on the held-out episodes, unless that was done.

    What was measured before it was trained on is measured again.

    Raises:
        MachineError: If the run has left no checkpoint, or the result cannot be written.
    """
    last = checkpoint.read(RunFolder(run).latest_checkpoint()).manifest["update"]
    if (run / RESULT).exists() and read_json(run / RESULT).get("update") == last:
        return
    episodes = read_episodes(study.root / "data" / task / "held_out")
    agent = load(run)
    found = prediction_error(agent.state.model, episodes, key=jr.key(0))
    values = {
        "task": task,
        "frames": frames,
        "seed": agent.config.seed,
        "update": int(agent.state.update),
        "horizons": HORIZONS,
        **found._asdict(),
        "posterior": found.posterior.mean,
        "prior": found.prior.mean,
    }
    with writing(run):
        write_json(run / RESULT, values)
