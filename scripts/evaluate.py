"""Evaluates agents at checkpoints of their runs.

python scripts/evaluate.py runs/NAME --env_steps all --out scores.json --video videos
"""

from gpld.commands.evaluate import main

if __name__ == "__main__":
    main()
