"""Puts settings, metrics and scores of runs into one small file.

python scripts/pack.py runs/small results/small.json.gz
"""

from gpld.commands.pack import main

if __name__ == "__main__":
    main()
