"""Documents of which a part is drawn from the code, between two marks; the rest is written by hand."""

from __future__ import annotations

BEGIN, END = "<!-- drawn:", "<!-- end -->"


def redrawn(document: str, drawn: str, name: str) -> str:
    """The document with its drawn part made anew.

    Args:
        document: As it is.
        drawn: What stands between the marks.
        name: Of the document, for the message.

    Raises:
        ValueError: A mark is missing.
    """
    before, begin, rest = document.partition(BEGIN)
    line, _, rest = rest.partition("\n")
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{name} has lost its marks {BEGIN!r} and {END!r}")
    return f"{before}{begin}{line}\n{drawn}{end}{after}"
