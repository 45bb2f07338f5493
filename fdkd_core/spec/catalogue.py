"""Which network takes which modality, which method works on which features: the rules, without the networks.

The service refuses by these rules when a job is posted, the core when it builds the network.
"""

from __future__ import annotations

from math import prod
from typing import Any, Literal

from fdkd_core.errors import Problem
from fdkd_core.spec.architectures import (
    ArchitectureSpec,
    Conv1dSpec,
    Conv2dFPNSpec,
    Conv2dSpec,
    MLPSpec,
    ResNet18Spec,
    TextTransformerSpec,
)
from fdkd_core.spec.dense import DenseSpec, dense_dim, dense_refusal, pixel_method_problems
from fdkd_core.spec.hugging_face.architectures import (
    ASTSpec,
    BertSpec,
    ConvNextSpec,
    DistilBertSpec,
    HuggingFaceSpec,
    MobileNetV2Spec,
    ResNetSpec,
    ViTSpec,
    Wav2Vec2Spec,
)
from fdkd_core.spec.hugging_face.dense import MobileNetV2DeepLabSpec, SegformerSpec
from fdkd_core.spec.hugging_face.fit import hugging_face_refusal
from fdkd_core.spec.hugging_face.sizes import patches, pooled_size, positions
from fdkd_core.spec.input_axes import Refusal, axes_refusal, token_refusal
from fdkd_core.spec.methods import (
    C2KDSpec,
    CombineSpec,
    CRDSpec,
    DistillingSpec,
    DISTSpec,
    DKDSpec,
    FDCMKDSpec,
    LSKDSpec,
    MethodSpec,
    NKDSpec,
    OFAKDSpec,
    PKDSpec,
    RKDSpec,
)
from fdkd_core.spec.tasks import (
    ClassificationSpec,
    RetrievalSpec,
    SegmentationSpec,
    TaskSpec,
    has_one_label,
)

KindName = Literal["image", "depth", "audio", "text", "series", "vector", "map"]

FITTING_KINDS: dict[type[ArchitectureSpec], tuple[KindName, ...]] = {
    ResNet18Spec: ("image", "depth", "audio", "map"),
    Conv2dSpec: ("image", "depth", "audio", "map"),
    Conv1dSpec: ("series",),
    MLPSpec: ("image", "depth", "audio", "series", "vector", "map"),
    TextTransformerSpec: ("text",),
    MobileNetV2Spec: ("image", "depth", "audio", "map"),
    ResNetSpec: ("image", "depth", "audio", "map"),
    ConvNextSpec: ("image", "depth", "audio", "map"),
    ViTSpec: ("image", "depth", "audio", "map"),
    ASTSpec: ("audio", "depth"),
    Wav2Vec2Spec: ("series",),
    BertSpec: ("text",),
    DistilBertSpec: ("text",),
    Conv2dFPNSpec: ("image", "depth"),
    SegformerSpec: ("image", "depth"),
    MobileNetV2DeepLabSpec: ("image", "depth"),
}
"""Kinds of modality that an architecture takes, given sides that are long enough and channels that fit."""

_DEFAULTS: dict[KindName, type[ArchitectureSpec]] = {
    "image": Conv2dSpec,
    "depth": Conv2dSpec,
    "audio": Conv2dSpec,
    "series": Conv1dSpec,
    "vector": MLPSpec,
    "text": TextTransformerSpec,
    "map": Conv2dSpec,
}

MIN_SIDE = {"small": 8, "large": 32}
"""Shorter input side of a ResNet-18 by stem, in pixels, at which the last stage is down to one pixel."""
AUTO_LARGE_SIDE = 64
"""`auto` takes the large stem from this shorter side on, in pixels: below it the last map is under 3x3."""

_NEEDED_CLASSES: dict[type[MethodSpec], tuple[int, str]] = {
    LSKDSpec: (3, "two standardised logits are 1 and -1 whatever the network says"),
    C2KDSpec: (3, "with two there is a single wrong class, and nothing passes between the modalities"),
}
_ONE_CLASS_ONLY: dict[type[MethodSpec], str] = {
    C2KDSpec: "it compares how two networks rank the classes that are not the sample's own",
    DISTSpec: "it correlates the probabilities of classes that exclude each other",
    DKDSpec: "it tells the sample's own class from the others",
    LSKDSpec: "it compares softmaxes over classes that exclude each other",
    NKDSpec: "it tells the sample's own class from the others",
    OFAKDSpec: "it strengthens the sample's own class",
}
"""Methods whose formula has no meaning where a sample has not exactly one class, and why."""
_NEEDED_ROWS: dict[type[MethodSpec], tuple[int, str]] = {
    DISTSpec: (2, "it correlates the predictions of a class over the batch"),
    PKDSpec: (2, "it standardises each channel over the batch"),
    RKDSpec: (3, "it compares distances, of which two rows have one"),
}


def default_architecture(kind: KindName, task: TaskSpec) -> ArchitectureSpec:
    """The architecture for a kind of modality whose user named none: small enough for a CPU."""
    return Conv2dFPNSpec() if isinstance(task, SegmentationSpec) else _DEFAULTS[kind]()


def feature_dim(architecture: ArchitectureSpec) -> int:
    """D: length of the feature vector that the network's classifier reads."""
    if isinstance(architecture, ResNet18Spec):
        return 8 * architecture.width
    if isinstance(architecture, Conv2dSpec | Conv1dSpec):
        return architecture.width << (architecture.depth - 1)
    if isinstance(architecture, HuggingFaceSpec):
        return pooled_size(architecture)
    if isinstance(architecture, DenseSpec):
        return dense_dim(architecture)
    return architecture.width


def resnet_stem(spec: ResNet18Spec, input_shape: tuple[int, ...]) -> Literal["large", "small"]:
    """The stem that `auto` stands for at this input [channels, height, width]."""
    if spec.stem != "auto":
        return spec.stem
    return "large" if min(input_shape[1:]) >= AUTO_LARGE_SIDE else "small"


def data_dimensions(
    architecture: ArchitectureSpec,
    input_shape: tuple[int, ...],
    num_classes: int,
    vocab_size: int | None = None,
) -> dict[str, int | str]:
    """What the data decide about the shapes of a network's weights, by name.

    Args:
        architecture: Fits the input: `architecture_problems` has nothing to say.
        input_shape: Shape of one sample, without the batch.
        num_classes: Classes.
        vocab_size: Number of token ids; None for float inputs.
    """
    found: dict[str, int | str] = {"num_classes": num_classes}
    if isinstance(architecture, TextTransformerSpec):
        return found | {"vocab_size": vocab_size or 0, "max_tokens": input_shape[0]}
    if isinstance(architecture, BertSpec | DistilBertSpec):
        tokens = {
            "vocab_size": architecture.vocab_size or vocab_size or 0,
            "max_tokens": positions(architecture, input_shape[0]),
        }
        return found | tokens
    if isinstance(architecture, MLPSpec):
        return found | {"inputs": prod(input_shape)}
    if isinstance(architecture, Wav2Vec2Spec):
        return found
    if isinstance(architecture, ViTSpec | ASTSpec):
        found["patches"] = patches(architecture, input_shape)
    if isinstance(architecture, ResNet18Spec):
        found["stem"] = resnet_stem(architecture, input_shape)
    return found | {"channels": input_shape[0]}


def architecture_problems(
    architecture: ArchitectureSpec,
    input_shape: tuple[int, ...],
    vocab_size: int | None,
    pointer: str,
) -> list[Problem]:
    """Why an architecture cannot take an input; at most one problem, code `incompatible`.

    Args:
        architecture: As in the spec.
        input_shape: Shape of one sample without the batch, of one to three axes.
        vocab_size: Number of token ids; None for float inputs.
        pointer: Where `architecture` stands in the spec.
    """
    refusal = _refusal(architecture, input_shape, vocab_size)
    return [Problem("incompatible", refusal[0], pointer + refusal[1])] if refusal else []


def method_problems(
    method: MethodSpec, teacher_dim: int, pointer: str = "/method", *, gives_logits: bool = True
) -> list[Problem]:
    """Why a method cannot work on features of this width; code `incompatible`.

    Args:
        method: As in the spec. Widths that differ are no problem: every method has its projector.
        teacher_dim: D of the teacher's feature; 0 for a teacher that gives none.
        pointer: Where `method` stands in the spec.
        gives_logits: Whether there are logits of the teacher.
    """
    if isinstance(method, CombineSpec):
        return [
            problem
            for index, part in enumerate(method.parts)
            for problem in method_problems(
                part.method, teacher_dim, f"{pointer}/parts/{index}/method", gives_logits=gives_logits
            )
        ]
    if not gives_logits and isinstance(method, DistillingSpec) and not method.needs_features:
        detail = f"{method.name} needs the teacher's logits, and `outputs_from` names no column of them"
        return [Problem("incompatible", detail, pointer)]
    if teacher_dim == 0 and isinstance(method, DistillingSpec) and method.needs_features:
        detail = f"{method.name} needs the teacher's features, and this teacher gives logits alone"
        return [Problem("incompatible", detail, pointer)]
    if isinstance(method, FDCMKDSpec) and method.split and teacher_dim < 2:
        detail = f"a band split needs at least 2 channels of the teacher's feature, found {teacher_dim}"
        return [Problem("incompatible", detail, pointer)]
    return []


def task_problems(method: MethodSpec, task: TaskSpec, pointer: str = "/method") -> list[Problem]:
    """Why a method says nothing about a task; code `incompatible`."""
    if isinstance(method, CombineSpec):
        return [
            problem
            for index, part in enumerate(method.parts)
            for problem in task_problems(part.method, task, f"{pointer}/parts/{index}/method")
        ]
    unfit = pixel_method_problems(method, task, pointer)
    if unfit or isinstance(task, ClassificationSpec):
        return unfit
    reason = _ONE_CLASS_ONLY.get(type(method))
    if reason is not None and isinstance(task, RetrievalSpec):
        detail = f"{method.name} needs scores of classes ({reason}); {task.kind} answers with an embedding"
        return [Problem("incompatible", detail, pointer)]
    if has_one_label(task):  # which is all that the others ask for
        return []
    if isinstance(method, FDCMKDSpec) and method.split and method.basis == "class":
        reason, pointer = "it orders directions by the means of classes", f"{pointer}/basis"
    if isinstance(method, CRDSpec) and method.exclude_same_class:
        reason, pointer = "rows of the same class are no negatives", f"{pointer}/exclude_same_class"
    if reason is None:
        return []
    detail = f"{method.name} needs one class a sample ({reason}), which {task.kind} does not have"
    return [Problem("incompatible", detail, pointer)]


def class_problems(method: MethodSpec, num_classes: int, pointer: str = "/method") -> list[Problem]:
    """Why a method says nothing about so few classes; code `incompatible`."""
    if isinstance(method, CombineSpec):
        return [
            problem
            for index, part in enumerate(method.parts)
            for problem in class_problems(part.method, num_classes, f"{pointer}/parts/{index}/method")
        ]
    needed, reason = _NEEDED_CLASSES.get(type(method), (2, ""))
    if not reason or num_classes >= needed:
        return []
    detail = f"{method.name} needs at least {needed} classes, found {num_classes}: {reason}"
    return [Problem("incompatible", detail, pointer)]


def batch_problems(
    method: MethodSpec, batch_size: int, pointer: str = "/training/batch_size"
) -> list[Problem]:
    """Why a method says nothing about batches of so few rows; code `incompatible`.

    Args:
        method: As in the spec.
        batch_size: As in the spec. The last rows of an epoch may make a smaller batch; its term is then 0.
        pointer: Where the batch size stands in the spec.
    """
    if isinstance(method, CombineSpec):
        parts = (batch_problems(part.method, batch_size, pointer) for part in method.parts)
        return [problem for problems in parts for problem in problems]
    needed, reason = _NEEDED_ROWS.get(type(method), (1, ""))
    if batch_size >= needed:
        return []
    detail = f"{method.name} needs batches of at least {needed} rows: {reason}"
    return [Problem("incompatible", detail, pointer)]


def _refusal(architecture: Any, input_shape: tuple[int, ...], vocab_size: int | None) -> Refusal | None:
    match architecture:
        case ResNet18Spec():
            return axes_refusal(
                architecture.name, ("channels", "height", "width"), input_shape, vocab_size
            ) or (_stem(architecture, input_shape))
        case Conv2dSpec():
            return axes_refusal(
                architecture.name, ("channels", "height", "width"), input_shape, vocab_size
            ) or (_halvings(architecture.depth, min(input_shape[1:]), "both sides", input_shape))
        case Conv1dSpec():
            refusal = axes_refusal(architecture.name, ("channels", "time"), input_shape, vocab_size)
            if refusal is None and architecture.kernel % 2 == 0:
                refusal = f"kernel must be odd; it is {architecture.kernel}.", "/kernel"
            return refusal or _halvings(architecture.depth, input_shape[-1], "the length", input_shape)
        case MLPSpec():
            if vocab_size is not None:
                return "mlp takes float inputs, not token ids; text takes text_transformer.", ""
        case TextTransformerSpec():
            refusal = token_refusal(architecture.name, input_shape, vocab_size)
            if refusal is None and architecture.width % architecture.heads != 0:
                detail = f"width {architecture.width} must be a multiple of heads {architecture.heads}."
                return detail, "/heads"
            return refusal
        case Conv2dFPNSpec() | SegformerSpec() | MobileNetV2DeepLabSpec():
            return dense_refusal(architecture, input_shape, vocab_size)
        case _:
            return hugging_face_refusal(architecture, input_shape, vocab_size)
    return None


def _stem(spec: ResNet18Spec, input_shape: tuple[int, ...]) -> Refusal | None:
    stem, sides = resnet_stem(spec, input_shape), list(input_shape[1:])
    if min(sides) >= MIN_SIDE[stem]:
        return None
    detail = (
        f"resnet18 with the {stem} stem needs both sides to be at least {MIN_SIDE[stem]}; "
        f"this modality gives {sides}." + (" The small stem takes sides from 8." if stem == "large" else "")
    )
    return detail, "/stem" if spec.stem == "large" else ""


def _halvings(depth: int, length: int, what: str, input_shape: tuple[int, ...]) -> Refusal | None:
    allowed = length.bit_length() - 1
    if depth <= allowed:
        return None
    detail = (
        f"depth {depth} halves the input {depth} times, so {what} must be at least {2**depth}; this "
        f"modality gives {list(input_shape)}, "
        + (f"which allows depth 1 to {allowed}." if allowed else "too little for any depth; mlp takes it.")
    )
    return detail, "/depth"
