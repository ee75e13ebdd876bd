"""Published costs of updates and runs, beside which ours are shown."""

from typing import Any, NamedTuple

from . import Published

AUTHORS = "the authors' code (jax 0.4.33, float32) on a core of a Xeon"
"""Where the two constants below come from: the paper's setting, one core, one update. They
were measured with the authors' published code on a shared machine with Sapphire Rapids
processors, over the unit in the same run: 12.35 s and 15.35 s."""

AUTHORS_UNITS = {"vanilla": 80.0, "GPLD": 99.0}
AUTHORS_RATIO = 1.24


class Row(NamedTuple):
    """A row of the paper's Table 4."""

    rho: float
    lambda_post: float
    lambda_prior: float
    ratio: Published
    """Wall time of whole runs over that of the baseline: mean and standard deviation."""

    @property
    def name(self) -> str:
        """Return its settings."""
        return f"rho {self.rho:g}, posterior {self.lambda_post:g}, prior {self.lambda_prior:g}"

    @property
    def penalty(self) -> dict[str, Any]:
        """Return the settings of `gpld` that it stands for."""
        target = "posterior" if self.lambda_prior == 0 else "both"
        return {
            "rho": self.rho,
            "target": "prior" if self.lambda_post == 0 else target,
            "lambda0": self.lambda_post,
            "lambda0_prior": self.lambda_prior,
        }


# Table 4 of arXiv 2605.23089, "overhead": ratios to a baseline of 7,289 s per 500,000 env
# steps, on a GPU that is not named.
TABLE4 = (
    Row(0.25, 0.0, 0.5, Published(1.01, 0.022)),
    Row(0.25, 0.5, 0.0, Published(1.11, 0.063)),
    Row(0.5, 0.0, 0.5, Published(1.15, 0.032)),
    Row(0.5, 0.25, 0.0, Published(1.23, 0.028)),
    Row(0.5, 0.25, 0.25, Published(1.44, 0.027)),
    Row(0.5, 0.5, 0.0, Published(1.51, 0.157)),
    Row(0.5, 0.5, 0.5, Published(1.44, 0.027)),
    Row(0.5, 0.75, 0.75, Published(1.43, 0.037)),
    Row(0.75, 0.0, 0.5, Published(1.26, 0.026)),
    Row(0.75, 0.5, 0.0, Published(1.46, 0.059)),
    Row(1.0, 0.0, 0.5, Published(1.40, 0.029)),
    Row(1.0, 0.5, 0.0, Published(1.68, 0.100)),
)

PAPER_RANGE = (1.23, 1.51)
"""Rows of the posterior's penalty with the paper's rho, 0.5."""
