"""Trains GPLD-DreamerV3 on a DeepMind Control task.

python scripts/train.py --task quadruped_run --gpld.lambda0 0.5
"""

from gpld.commands.train import main

if __name__ == "__main__":
    main()
