"""The training loop: advance, evaluate, report, log, save."""

from ..config import Config
from ..errors import Interrupted
from .profiling import Profiler
from .seed_run import Failure
from .stages import Stages
from .trainer import Trainer


class Loop:
    """Brings runs from where they are to their last env step.

    It can be saved between any two updates; a loop that goes on from there does what this one
    would have done.
    """

    served: int
    """The last env step whose evaluation, report and log are done."""

    def __init__(self, config: Config, trainer: Trainer, stages: Stages, profiler: Profiler):
        """Start at env step 0.

        Args:
            config: Settings.
            trainer: Collects experience and learns from it.
            stages: What follows the env steps after which it is due.
            profiler: Told of every round.
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
                trainer.advance(self._next_stop(), stages.check)
                last = trainer.clock.env_step >= config.env_steps
                if self._is_due(config.evaluation.every) or last:
                    stages.evaluate(video=self._is_due(config.evaluation.video_every) or last)
                if self._is_due(config.log.report_every):
                    stages.report()
                if self._is_due(config.log.every) or last:
                    stages.log()
                self.served = trainer.clock.env_step
                overdue, milestone = stages.is_overdue(), self._is_due(config.checkpoint.every)
                if overdue or milestone or last:
                    stages.save(self.served, milestone=milestone)
        except Interrupted:
            stages.save(self.served)
            stages.wait()
            raise stages.interrupted() from None
        except Failure as failure:
            stages.save(self.served, but=failure.run)
            raise failure.error from None
        stages.wait()

    def _next_stop(self) -> int:
        """Return the first env step after `served` at which something is due."""
        config, now = self._config, self.served
        every = (
            config.evaluation.every,
            config.log.every,
            config.log.report_every,
            config.checkpoint.every,
        )
        stops = [config.env_steps, *(now - now % n + n for n in every if n > 0)]
        num_envs = config.env.num_envs
        return -(-min(stops) // num_envs) * num_envs

    def _is_due(self, every: int) -> bool:
        """Return whether the last env steps passed a multiple of `every`; never if that is 0."""
        now = self._trainer.clock.env_step
        before = now - self._config.env.num_envs
        return every > 0 and now // every > before // every
