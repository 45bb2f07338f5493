"""What a method is made of, whether it stands alone or is a combination."""

from __future__ import annotations

from fdkd_core.spec.methods.base import DistillingSpec
from fdkd_core.spec.methods.combine import CombineSpec
from fdkd_core.spec.methods.fd_cmkd import FDCMKDSpec
from fdkd_core.spec.methods.leaf import LeafMethodSpec
from fdkd_core.spec.methods.none import NoneSpec


def parts_of(method: NoneSpec | LeafMethodSpec | CombineSpec) -> list[NoneSpec | LeafMethodSpec]:
    """The methods of a combination; one that stands alone is its own part."""
    return [part.method for part in method.parts] if isinstance(method, CombineSpec) else [method]


def fd_cmkd_of(method: NoneSpec | LeafMethodSpec | CombineSpec) -> FDCMKDSpec | None:
    """The FD-CMKD of a method, of several the first that splits features into bands; None without one."""
    found = [part for part in parts_of(method) if isinstance(part, FDCMKDSpec)]
    return next((part for part in found if part.split), found[0] if found else None)


def uses_features(method: NoneSpec | LeafMethodSpec | CombineSpec) -> bool:
    """Whether any part looks at the teacher's features; all others teach by its logits, or nothing."""
    return any(isinstance(part, DistillingSpec) and part.needs_features for part in parts_of(method))
