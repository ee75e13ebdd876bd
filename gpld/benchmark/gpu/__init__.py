"""GPUs: programs that are compiled for a described card, and the check of one that is there."""

from .matrix import compile_matrix as compile_matrix
