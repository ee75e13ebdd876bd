"""Pictures on disk."""

import io
from pathlib import Path

from matplotlib.figure import Figure

from ..errors import MachineError
from ..machine.files import write_bytes


def save_picture(figure: Figure, path: Path) -> None:
    """Writes a figure as a PNG, which is complete or that of before.

    Args:
        figure: The figure.
        path: The file, in an existing folder.

    Raises:
        MachineError: If it cannot be written.
    """
    picture = io.BytesIO()
    figure.savefig(picture, dpi=120, format="png")
    try:
        write_bytes(path, picture.getvalue())
    except OSError as error:
        raise MachineError(f"Cannot write the picture {path}: {error.strerror}.") from error
