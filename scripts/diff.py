"""Shows in which settings presets and runs differ.

python scripts/diff.py paper authors
"""

from gpld.commands.diff import main

if __name__ == "__main__":
    main()
