"""What a card says of what the teacher was worth, and of what the job asked for. No torch."""

from __future__ import annotations

from collections.abc import Sequence

from fdkd_core.spec.measures import MEASURES
from fdkd_core.spec.uplift import ALL_AGREE, AnyUplift, groups_words, half_width_of

_HEADING = "## Did the teacher help?\n\n"


def uplift_section(
    uplift: AnyUplift | None, gates: Sequence[str], *, is_distilled: bool, is_control: bool
) -> str:
    """The section as Markdown; nothing where no teacher was meant to help, or nothing says whether it did.

    Args:
        uplift: None without a control.
        gates: A sentence of each, escaped.
        is_distilled: Whether the job was to distil.
        is_control: Whether the student is the control itself.
    """
    if uplift is None:
        return f"{_HEADING}Not known: no control was trained." if is_distilled else ""
    text = (
        "No: nothing that it could teach was found to be worth more than noise, so this is the control "
        "itself, the student trained without a teacher."
        if is_control
        else _difference(uplift)
    )
    if uplift.chance is not None and uplift.chance.warning:
        text += f"\n\n**{uplift.chance.warning}**"
    if gates:
        text += "\n\nWhat its job asked of it:\n" + "".join(f"\n- {gate}" for gate in gates)
    return f"{_HEADING}{text}"


def _difference(uplift: AnyUplift) -> str:
    gain, *others = uplift.gains
    measure = MEASURES[gain.metric]
    points = " points" if measure.form == "share" else ""
    noise, over = half_width_of(gain), ""
    if gain.groups is not None:
        over = f" (over its {groups_words(gain.groups, gain.grouped_by)})"
    verdict = (
        "exactly as good as"
        if gain.test == 0
        else f"{measure.text(abs(gain.test))}{points} {'better' if gain.test > 0 else 'worse'} than"
    )
    beside = [f"{MEASURES[o.metric].words} {MEASURES[o.metric].signed_text(o.test)}" for o in others]
    if gain.val is not None:
        beside.append(f"validation {measure.words} {measure.signed_text(gain.val)}{points}")
    turned = "" if all(MEASURES[o.metric].larger_is_better for o in uplift.gains) else "; more is better"
    text = (
        f"**On the test split the student is {verdict} the same student trained "
        f"without a teacher** ({measure.words}; {', '.join(beside)}{turned}). This is one seed: "
    )
    if noise is None:
        text += (
            f"another would move both models. All test rows are of one {gain.grouped_by or 'group'}; nothing "
            "tells of another."
        )
    elif noise > 0:
        text += (
            f"differences under {measure.text(noise)}{points} may be noise of this test split alone{over}, "
            "and another seed would move both models further."
        )
    else:
        text += "another would move both models."
        if gain.test != 0.0:
            text += f" How much other test rows would is unknown, since {ALL_AGREE}."
    if noise is not None and abs(gain.test) < noise:
        text += " This difference is within that noise."
    if uplift.teacher_gap_closed is not None and gain.test > 0:
        share = f"{100 * uplift.teacher_gap_closed:.0f} %"
        text += f" The student closed {share} of the control's gap to the teacher."
    return text
