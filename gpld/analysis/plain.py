"""Names as text in pictures."""


def plain(text: str) -> str:
    """Makes matplotlib show text as it is: `$` begins no formula, `_` hides no entry of a legend.

    Args:
        text: What is to be seen.
    """
    shown = f" {text}" if text.startswith("_") else text
    return shown.replace("$", r"\$")
