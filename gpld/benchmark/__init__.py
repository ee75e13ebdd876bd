"""What things cost, as ratios measured in one run."""

from .measure import Measurement as Measurement, Report as Report, measure as measure
from .penalty import benchmark_penalty as benchmark_penalty
from .update import benchmark_update as benchmark_update
