"""The rows of the paper's Table 4, as times of whole updates over one without penalty.

The paper's ratios are of whole runs, environments and evaluation included.
"""

import dataclasses
from typing import Literal

from ..analysis.published.costs import TABLE4, Row
from ..config import Config
from .choices import describe
from .measure import Progress, measure
from .report import Report
from .update import BASELINE, update_cases


def benchmark_table4(config: Config, *, repetitions: int, progress: Progress) -> Report:
    """Times the update of every row.

    Args:
        config: Settings, the estimator among them; shares and coefficients are the rows'.
        repetitions: How often everything is timed.
        progress: Is told what happens.

    Returns:
        The report, with the paper's ratios.
    """
    rows = {row.name: row for row in TABLE4}
    vanilla = dataclasses.replace(config.gpld, lambda0=0.0, lambda0_prior=0.0)
    penalties = {BASELINE: vanilla} | {name: penalty(config, row) for name, row in rows.items()}
    variants = {
        name: (dataclasses.replace(config, gpld=gpld), BASELINE) for name, gpld in penalties.items()
    }
    settings = describe(config) | {"repetitions": repetitions}
    del settings["rho"]
    measurements = measure(update_cases(variants), repetitions=repetitions, progress=progress)
    published = {name: row.ratio for name, row in rows.items()}
    return Report("table4", settings, measurements, published=published)


def penalty(config: Config, row: Row):
    """The settings of a row's penalty."""
    target: Literal["posterior", "prior", "both"] = "both"
    if row.lambda_prior == 0:
        target = "posterior"
    elif row.lambda_post == 0:
        target = "prior"
    return dataclasses.replace(
        config.gpld,
        rho=row.rho,
        lambda0=row.lambda_post,
        lambda0_prior=row.lambda_prior,
        target=target,
    )
