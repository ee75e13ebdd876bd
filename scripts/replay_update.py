"""Repeats an update that stopped a run, and says where its numbers are not finite.

python scripts/replay_update.py runs/NAME/faults/update_000012345
"""

from gpld.commands.replay_update import main

if __name__ == "__main__":
    main()
