"""Writes the agent of a run into a small folder, to share it or to keep it.

python scripts/export.py runs/first first_agent
"""

from gpld.commands.export import main

if __name__ == "__main__":
    main()
