"""Numbers as messages show them."""


def byte_size(number: int) -> str:
    """Bytes in the largest unit of which there is one."""
    for power, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if number >= 1024**power:
            return f"{number / 1024**power:,.2f} {unit}"
    return f"{number} bytes"


def count(number: int, noun: str, plural: str = "s") -> str:
    """A number with what it counts, in singular or plural."""
    return f"{number:,} {noun}{'' if number == 1 else plural}"
