"""Measures how sensitive the world model of a run is, at each of its checkpoints.

python scripts/sensitivity.py runs/NAME --states 1000
"""

from gpld.commands.sensitivity import main

if __name__ == "__main__":
    main()
