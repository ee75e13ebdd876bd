"""Evaluates the agent of a run.

python scripts/evaluate.py runs/NAME --episodes 20
"""

from gpld.cli import evaluate

if __name__ == "__main__":
    evaluate()
