"""The folder of a run, and everything that is written to it or shown about it."""
