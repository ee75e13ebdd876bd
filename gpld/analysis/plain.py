"""Names as text in pictures."""


def plain(text: str) -> str:
    """Makes matplotlib show text as it is: `$` begins no formula, `_` hides no entry of a legend.

    Args:
        text: What is to be seen.
    """
    shown = f" {text}" if text.startswith("_") else text
    return shown.replace("$", r"\$")


def short(task: str) -> str:
    """Return the name of a task for a title: that of a file of one's own without its folders."""
    return task.rpartition("/")[2]
