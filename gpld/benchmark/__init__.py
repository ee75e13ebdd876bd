"""Benchmarks: what things cost, as ratios measured in one run."""

from .adapters import benchmark_adapters as benchmark_adapters
from .collect import benchmark_collect as benchmark_collect
from .env import benchmark_env as benchmark_env
from .gpu import (
    compile_matrix as compile_matrix,
    setting_rows as setting_rows,
    simulation_rows as simulation_rows,
)
from .loop import benchmark_loop as benchmark_loop
from .penalty import benchmark_penalty as benchmark_penalty
from .plot import plot as plot
from .replay import benchmark_replay as benchmark_replay
from .report import Report as Report
from .startup import benchmark_startup as benchmark_startup
from .table4 import benchmark_table4 as benchmark_table4
from .train import benchmark_train as benchmark_train
from .update import benchmark_update as benchmark_update
