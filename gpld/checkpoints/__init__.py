"""Checkpoints of a run: their files, which of them are kept, and their writer."""
