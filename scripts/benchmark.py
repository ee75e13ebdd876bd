"""Measures what things cost, as ratios of one run.

python scripts/benchmark.py --cores 1 --out results
"""

from gpld.commands.benchmark import main

if __name__ == "__main__":
    main()
