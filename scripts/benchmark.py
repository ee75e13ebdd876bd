"""Measures what things cost, as ratios of one run.

python scripts/benchmark.py penalty --cores 1
"""

from gpld.commands.benchmark import main

if __name__ == "__main__":
    main()
