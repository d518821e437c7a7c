"""Accelerators by name: their memory and their peak arithmetic, from their maker's data sheets.

Memory is in units of 10^9 bytes, as the sheets say it; a driver shows a little more. Peaks are those of dense products
in operations a second: the sheets' figures "with sparsity" are twice as high. `half` is bf16, or fp16 where there is no
bf16; `single` is float32 outside of the tensor cores. Sources: NVIDIA's data sheets of each product (A10G: that of AWS
and NVIDIA), and the white paper of the Ada architecture for the RTX 4090.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

RESOURCE = "nvidia.com/gpu"
"""Name of all of them in Kubernetes, and in `costs.accelerator_hour`."""


@dataclass(frozen=True)
class Accelerator:
    """One device."""

    gigabytes: int
    half: float
    """Operations a second in bf16 or fp16, in units of 10^12."""
    single: float
    """The same in float32."""
    torch_name: str
    """Part of the name that torch gives."""
    has_bf16: bool = True
    has_float8: bool = False

    @property
    def memory_bytes(self) -> int:
        """Its memory."""
        return self.gigabytes * 10**9

    def peak(self, precision: str) -> float:
        """Operations a second in the precision of `training.compute.precision`."""
        return (self.single if precision == "fp32" else self.half) * 1e12


ACCELERATORS = {
    "b200": Accelerator(180, 2250, 80, "B200", has_float8=True),
    "gh200": Accelerator(96, 989, 67, "GH200", has_float8=True),
    "h200-nvl": Accelerator(141, 835, 60, "H200 NVL", has_float8=True),
    "h200": Accelerator(141, 989, 67, "H200", has_float8=True),
    "h100-pcie": Accelerator(80, 756, 51, "H100 PCIe", has_float8=True),
    "h100-nvl": Accelerator(94, 835, 60, "H100 NVL", has_float8=True),
    "h100": Accelerator(80, 989, 67, "H100", has_float8=True),
    "a100-40g": Accelerator(40, 312, 19.5, "A100"),
    "a100-80g": Accelerator(80, 312, 19.5, "A100"),
    "l40s": Accelerator(48, 362, 91.6, "L40S", has_float8=True),
    "l40": Accelerator(48, 181, 90.5, "L40", has_float8=True),
    "l4": Accelerator(24, 121, 30.3, "L4", has_float8=True),
    "a10g": Accelerator(24, 70, 35, "A10G"),
    "a10": Accelerator(24, 125, 31.2, "A10"),
    "rtx-4090": Accelerator(24, 165, 82.6, "RTX 4090", has_float8=True),
    "v100-16g": Accelerator(16, 125, 15.7, "V100", has_bf16=False),
    "v100-32g": Accelerator(32, 125, 15.7, "V100", has_bf16=False),
    "t4": Accelerator(16, 65, 8.1, "T4", has_bf16=False),
}
"""In this order: the first whose part is in torch's name is meant."""


def by_torch_name(name: str) -> Accelerator | None:
    """The one that torch means; None if it is not in the table, or is a part of a GPU or a laptop's."""
    if re.search(r"\bMIG\b|\bLaptop\b", name):
        return None
    return next((one for one in ACCELERATORS.values() if re.search(rf"\b{one.torch_name}\b", name)), None)
