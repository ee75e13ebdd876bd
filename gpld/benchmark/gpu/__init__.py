"""GPU programs, compiled for a described card on a machine that has none."""

from .matrix import compile_matrix as compile_matrix
