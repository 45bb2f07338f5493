"""How much memory a training may plan for."""

from __future__ import annotations

import torch

from fdkd_core.spec.cost import machine_memory_bytes


def device_memory_bytes(device: torch.device) -> int:
    """Memory of the device that trains: of the GPU, or of the machine."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return machine_memory_bytes()
