"""Scores of runs: from their folders to a table, and from tables to statistics."""

from .arms import ARMS as ARMS, label_arms as label_arms
from .at_step import ScoreTable as ScoreTable, score_at as score_at, score_table as score_table
from .bootstrap import (
    Interval as Interval,
    has_interval as has_interval,
    stratified_bootstrap as stratified_bootstrap,
)
from .checkpoints import (
    CHECKPOINT_SCORES as CHECKPOINT_SCORES,
    identity as identity,
    read_checkpoint_scores as read_checkpoint_scores,
)
from .normalised import (
    NORMALISED as NORMALISED,
    missing_ranges as missing_ranges,
    normalised as normalised,
    normalised_name as normalised_name,
    shared_range as shared_range,
)
from .relative import RELATIVE as RELATIVE, means as means, ratios as ratios
from .runs import (
    RunScores as RunScores,
    Source as Source,
    find_runs as find_runs,
    read_runs as read_runs,
    write_csv as write_csv,
)
from .statistics import (
    TaskScores as TaskScores,
    interquartile_mean as interquartile_mean,
    mean as mean,
    optimality_gap as optimality_gap,
    performance_profile as performance_profile,
    probability_of_improvement as probability_of_improvement,
)
