"""The training loop: advance, evaluate, report, log, save."""

from ..config import Config
from ..errors import Interrupted
from .profiling import Profiler
from .seed_run import Failure
from .stages import Stages
from .trainer import Trainer


class Loop:
    """Trains the runs of all seeds to their last env step, from any starting point.

    Runs can be saved between any two updates; resuming them changes no result.
    """

    served: int
    """Last env step whose evaluation, report and log are done."""

    def __init__(self, config: Config, trainer: Trainer, stages: Stages, profiler: Profiler):
        """Start at env step 0.

        Args:
            config: Settings.
            trainer: Collects experience and learns from it.
            stages: Evaluation, report, log and checkpoints.
            profiler: Told when each round begins.
        """
        self._config, self._trainer, self._stages = config, trainer, stages
        self._profiler = profiler
        self.served = 0

    @property
    def finished(self) -> bool:
        """True if all env steps are made, and everything that follows them."""
        return self.served >= self._config.env_steps

    def run(self) -> None:
        """Go on to the end.

        Raises:
            Interrupted: If a signal asked for it; all is saved.
            MachineError: If something cannot be written, or numbers are not finite.
            WorkerError: If environments failed too often.
        """
        config, trainer, stages = self._config, self._trainer, self._stages
        try:
            while not self.finished:
                self._profiler.round(trainer.clock.update)
                trainer.advance(self._next_stop(), stages.raise_if_interrupted)
                last = trainer.clock.env_step >= config.env_steps
                if self._is_due(config.evaluation.every) or last:  # videos are made there alone
                    stages.evaluate(video=self._is_due(config.evaluation.video_every) or last)
                if self._is_due(config.log.report_every):
                    stages.report()
                if self._is_due(config.log.every) or last:
                    stages.log()
                self.served = trainer.clock.env_step
                milestone = self._is_due(config.checkpoint.every)
                if stages.is_checkpoint_old() or milestone or last:
                    stages.save(self.served, milestone=milestone)
        except Interrupted:
            stages.save(self.served)
            stages.wait()
            raise stages.interruption() from None
        except Failure as failure:
            stages.save(self.served, excluding=None if failure.saved else failure.run)
            raise failure.error from None
        stages.wait()

    def _next_stop(self) -> int:
        """Return the first env step after `served` at which something is due."""
        config, done = self._config, self.served
        every = (
            config.evaluation.every,
            config.log.every,
            config.log.report_every,
            config.checkpoint.every,
        )
        stops = [config.env_steps, *(done - done % n + n for n in every if n > 0)]
        num_envs = config.env.num_envs
        return -(-min(stops) // num_envs) * num_envs  # rounded up

    def _is_due(self, every: int) -> bool:
        """Return whether a multiple of `every`, unless 0, lies in the last `num_envs` env steps."""
        now = self._trainer.clock.env_step
        before = now - self._config.env.num_envs
        return every > 0 and now // every > before // every
