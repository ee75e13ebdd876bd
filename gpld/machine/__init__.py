"""Operating system: memory, files, signals, subprocesses, output streams.

Nothing here knows the project, and importing the package loads no JAX.
"""
