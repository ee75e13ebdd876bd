"""Evaluations in the course of a run."""

import contextlib
from collections.abc import Callable
from typing import Any

from ..agent import AgentState
from ..config import Config
from ..envs import WorkerError
from ..errors import Interrupted, MachineError, UsageError
from ..evaluation.episodes import evaluate
from ..evaluation.video import FirstEpisode, record_video
from ..machine.signals import Interrupts
from ..parallel.hosts import Processes
from ..runs.folder import RunFolder
from ..seeding import derive_seed
from .source import num_workers


class Evaluator:
    """Evaluates an agent as the settings say, in environments of its own."""

    def __init__(
        self,
        config: Config,
        folder: RunFolder,
        interrupts: Interrupts,
        say: Callable[[str], None],
        processes: Processes | None = None,
    ):
        """Evaluate nothing yet.

        Args:
            config: Settings.
            folder: Where videos go.
            interrupts: End an evaluation as well.
            say: Takes a line about each video, and each failure of an environment.
            processes: Processes of the run, of which the first evaluates for all.
        """
        self._config, self._folder = config, folder
        self._interrupts, self._say = interrupts, say
        self._processes = processes or Processes()
        self._draws = config.evaluation.video_every > 0
        self._cut = False  # whether it was said that episodes are cut

    def __call__(self, state: AgentState, env_step: int, *, video: bool) -> dict[str, Any]:
        """Evaluates an agent, or waits for the process that does.

        Args:
            state: The agent.
            env_step: Env steps collected so far; seeds environments and actions.
            video: Whether the first episode is drawn, if the settings want videos at all.

        Returns:
            Returns and lengths of all episodes, mean and population standard deviation.

        Raises:
            Interrupted: If it should stop.
            MachineError: If the actions are not finite.
            WorkerError: If environments failed too often.
        """
        scores = None
        if self._processes.index == 0:
            with contextlib.suppress(Interrupted):
                scores = self._evaluate(state, env_step, video)
        scores = self._processes.gather(scores)[0]
        if scores is None:
            raise Interrupted
        return scores

    def _evaluate(self, state: AgentState, env_step: int, video: bool) -> dict[str, Any]:
        config, seed = self._config, derive_seed(self._config.seed, "evaluate", env_step)
        first, spec = FirstEpisode(), self._folder.env_spec()
        try:
            evaluation = evaluate(
                state.model,
                config.task,
                num_episodes=config.evaluation.episodes,
                num_envs=config.evaluation.num_envs,
                seed=seed,
                **config.env_options,
                max_restarts=config.env.max_restarts,
                # As training does: code of the user's may end its process, or hang.
                workers=0 if config.env.backend == "mjx" else num_workers(config),
                timeout=config.env.timeout,
                should_stop=self._should_stop,
                record=first,
                warn=self._say,
                spec=spec,
            )
        except UsageError as error:  # of code of the user's, which may have changed meanwhile
            raise WorkerError(f"There is no evaluation: {error}") from error
        if not self._cut and (cut := evaluation.describe_cut(spec)):
            self._say(cut)
            self._cut = True
        if video and self._draws:
            self._draw(first, seed, env_step)
        return evaluation._asdict()

    def _draw(self, episode: FirstEpisode, seed: int, env_step: int) -> None:
        config = self._config
        path = self._folder.path / "videos" / f"{env_step:09d}.mp4"
        try:
            video = record_video(
                path,
                episode,
                task=config.task,
                seed=seed,
                **config.env_options,
                should_stop=self._should_stop,
            )
            self._say(str(video))
        except (UsageError, MachineError) as error:
            self._draws = False
            self._say(f"no videos: {error}")

    def _should_stop(self) -> bool:
        return self._interrupts.received is not None
