"""Checks an installation.

python scripts/doctor.py
"""

import sys

try:
    from gpld.commands.doctor import main
except ImportError as error:
    print(f"failed   gpld             {error}: `pip install -e .` in the checkout.")
    sys.exit(1)

if __name__ == "__main__":
    main()
