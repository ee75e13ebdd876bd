"""The rows of the paper's Table 4, as times of whole updates over one without penalty.

The paper's ratios are of whole runs, environments and evaluation included.
"""

import dataclasses

from ..analysis.published.costs import TABLE4
from ..config import Config
from .choices import describe
from .measure import measure
from .report import Report
from .update import BASELINE, update_cases


def benchmark_table4(config: Config, *, repetitions: int) -> Report:
    """Times the update of every row.

    Args:
        config: Settings, the estimator among them; shares and coefficients are the rows'.
        repetitions: How often everything is timed.

    Returns:
        The report, with the paper's ratios.
    """
    penalties = {BASELINE: {"lambda0": 0.0, "lambda0_prior": 0.0}}
    penalties |= {row.name: row.penalty for row in TABLE4}
    variants = {}
    for name, penalty in penalties.items():
        gpld = dataclasses.replace(config.gpld, **penalty)
        variants[name] = dataclasses.replace(config, gpld=gpld), BASELINE
    settings = describe(config) | {"repetitions": repetitions}
    del settings["rho"]
    measurements = measure(update_cases(variants), repetitions=repetitions)
    published = {row.name: row.ratio for row in TABLE4}
    return Report("table4", settings, measurements, published=published)
