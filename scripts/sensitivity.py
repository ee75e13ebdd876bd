"""Measures how sensitive the world model of a run is, at each of its checkpoints.

python scripts/sensitivity.py runs/NAME --states 1000
"""

from gpld.cli import sensitivity

if __name__ == "__main__":
    sensitivity()
