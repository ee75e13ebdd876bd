"""Checks of whether an environment keeps the contract that training relies on."""

from .check import (
    check_env as check_env,
    check_quickly as check_quickly,
    check_quickly_in_child as check_quickly_in_child,
)
from .finding import Finding as Finding
