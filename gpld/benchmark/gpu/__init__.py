"""GPUs: programs that are compiled for a described card, and the check of one that is there."""

from .matrix import compile_matrix as compile_matrix
from .rows import setting_rows as setting_rows, simulation_rows as simulation_rows
