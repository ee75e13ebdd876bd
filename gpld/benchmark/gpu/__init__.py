"""GPU programs, compiled for a described card on a machine that has none."""

from .matrix import Matrix as Matrix, compile_matrix as compile_matrix
