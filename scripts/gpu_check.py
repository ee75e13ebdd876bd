"""Checks a GPU in minutes: numbers, times, memory, learning and resuming.

python scripts/gpu_check.py --out gpu_check
"""

from gpld.commands.gpu_check import main

if __name__ == "__main__":
    main()
