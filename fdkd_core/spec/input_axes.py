"""Whether an input has the axes that a network takes."""

from __future__ import annotations

MAX_STEPS = 480_000
"""Of a waveform or series: 30 s at 16 kHz, the most that speech models of the hub are usually given. A row
takes 1.9 MB as it is stored; what a network makes of it is counted before a job starts (`spec.cost`)."""

Refusal = tuple[str, str]
"""A sentence, and the field of the architecture that it is about: a JSON pointer below it, or nothing."""


def axes_refusal(
    name: str, axes: tuple[str, ...], input_shape: tuple[int, ...], vocab_size: int | None
) -> Refusal | None:
    """For a network `name` that takes float inputs with `axes`."""
    wanted = f"{name} takes float inputs [{', '.join(axes)}]"
    if vocab_size is not None:
        return f"{wanted}, not token ids; text takes text_transformer.", ""
    if len(input_shape) != len(axes):
        other = {2: "conv1d or mlp", 3: "conv2d, resnet18 or mlp"}.get(len(input_shape), "mlp")
        return f"{wanted}; this modality gives {list(input_shape)}, which {other} takes.", ""
    return None


def token_refusal(name: str, input_shape: tuple[int, ...], vocab_size: int | None) -> Refusal | None:
    """For a network `name` that takes token ids."""
    if vocab_size is not None and len(input_shape) == 1:
        return None
    return (
        f"{name} takes token ids of a text modality; this modality gives float inputs {list(input_shape)}."
    ), ""
