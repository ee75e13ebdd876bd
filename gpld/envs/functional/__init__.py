"""Environments as pure functions, which compiled programs can hold."""
