"""What outlasts a loss of power."""

import os
from pathlib import Path


def sync_folder(path: Path) -> None:
    """Makes new names in a folder outlast a loss of power.

    Raises:
        OSError: If the folder cannot be opened or the disk fails.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
