"""The two trainers, with which the loop does the same."""

from .device.trainer import DeviceTrainer
from .host.trainer import HostTrainer

Trainer = HostTrainer | DeviceTrainer
"""Collects experience and makes the updates that are due, for all seeds in lockstep."""
