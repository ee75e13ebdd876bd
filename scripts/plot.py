"""Compares runs in pictures and tables.

python scripts/plot.py runs/sweep --out figures
"""

from gpld.commands.plot import main

if __name__ == "__main__":
    main()
