"""Train ratio: updates in proportion to env steps (Hafner et al., 2025)."""


class TrainRatio:
    """Number of updates that are due after a number of env steps.

    Training begins when there are as many windows as a batch has steps, with one update;
    from there on the updates follow the env steps in proportion. Every env step counts, in
    whichever environment, also the resets.
    """

    def __init__(self, *, num_streams: int, window: int, min_windows: int, ratio: float):
        """Fix the proportion.

        Args:
            num_streams: Environments that collect together.
            window: Steps per window.
            min_windows: Windows that must exist before the first update.
            ratio: Updates per env step.
        """
        self._num_streams = num_streams
        # After n steps a stream has n - window + 1 windows.
        self.first_env_step = (window - 1) * num_streams + min_windows
        self.ratio = ratio

    def updates_due(self, env_step: int) -> int:
        """Return the updates that must have been made once `env_step` steps were collected."""
        if env_step < self.first_env_step:
            return 0
        return 1 + int((env_step - self.first_env_step) * self.ratio)

    def updates_before(self, env_step: int) -> int:
        """Return the updates that are made while there are fewer than `env_step` steps.

        Steps are collected in all environments at once, and then the updates are made that are
        due; so this is what is due at the last multiple of their number that is less.
        """
        return self.updates_due((env_step - 1) // self._num_streams * self._num_streams)
