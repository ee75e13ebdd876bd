"""Makes a table or figure of the paper: trains what is missing, then writes a report.

python scripts/reproduce.py table3 --scale tiny
"""

from gpld.commands.reproduce import main

if __name__ == "__main__":
    main()
