"""A check of a GPU in minutes: parts in order of worth, each saved as it ends."""

from .check import check_gpu as check_gpu
