"""Pictures on disk."""

import io
from pathlib import Path

from matplotlib.figure import Figure

from ..machine.files import write_bytes, writing


def save_picture(figure: Figure, path: Path) -> None:
    """Writes a figure as a PNG, which is complete or that of before.

    Args:
        figure: The figure.
        path: The file, in an existing folder.

    Raises:
        MachineError: If it cannot be written.
    """
    picture = io.BytesIO()
    figure.savefig(picture, dpi=150, format="png")
    with writing(path, "write the picture"):
        write_bytes(path, picture.getvalue())
