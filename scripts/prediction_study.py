"""Trains world models on few recorded frames, with and without the penalty, and compares them.

python scripts/prediction_study.py zoo:cartpole_swingup
"""

from gpld.commands.prediction_study import main

if __name__ == "__main__":
    main()
