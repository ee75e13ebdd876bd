"""Makes a replay to train on from recorded episodes.

python scripts/import_data.py episodes data/hopper --task hopper
"""

from gpld.commands.import_data import main

if __name__ == "__main__":
    main()
