"""Runs a grid of tasks, arms and seeds, or what is missing of it.

python scripts/sweep.py sweeps/small.toml --processes 2
"""

from gpld.commands.sweep import main

if __name__ == "__main__":
    main()
