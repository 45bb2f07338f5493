"""Numbers, times and states as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

from fdkd_core.count_words import duration
from fdkd_core.spec.phase_words import phase_words as of_training

STATE_STYLES = {
    "queued": "yellow",
    "running": "cyan",
    "succeeded": "green",
    "failed": "red",
    "cancelled": "magenta",
    "validating": "yellow",
    "ready": "green",
    "invalid": "red",
}
CONCLUDING = "concluding"
"""What a comparison does when its jobs have ended, whatever its trainer calls it: nothing is trained."""
PHASE_WORDS = {
    "preparing": "preparing the data",
    "publishing": "storing the results",
    "children": "its jobs are under way",
    CONCLUDING: "comparing what its jobs found",
}
"""Of phases before, after and beside training."""
CHILDREN = "children"
"""Phase of a comparison that waits for the jobs it is made of."""


def phase_words(phase: str) -> str:
    """What is done in a phase, as markup; one that is not known here stands for itself."""
    from fdkd_client.cli.terminal import plain

    return PHASE_WORDS.get(phase) or plain(of_training(phase))


def styled_state(state: str) -> str:
    """A state in its colour, as markup."""
    from fdkd_client.cli.terminal import plain

    style = STATE_STYLES.get(state)
    return f"[{style}]{state}[/]" if style else plain(state)


def age(moment: datetime | None) -> str:
    """How long ago, such as `3m ago`."""
    if moment is None:
        return ""
    seconds = (datetime.now(UTC) - moment).total_seconds()
    if seconds < 5:
        return "just now"
    return f"{duration(seconds).split(' ')[0]} ago"


def percent(share: float) -> str:
    """Such as 93.4."""
    return f"{100 * share:.1f}"
