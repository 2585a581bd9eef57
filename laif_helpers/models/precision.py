"""Chooses the precision in which a model computes, by the recipe's ``dtype``, the machine, and the model's size."""

from pathlib import Path

LARGE = 50_000_000
"""Weights. In a smaller model the conversions to bfloat16 cost what its products save."""
_INSTRUCTIONS = {"avx512_bf16", "amx_bf16", "bf16"}
"""How the kernel names a processor's products of bfloat16 numbers (x86 with AVX-512 or AMX, Arm)."""
_SLOW = {"genuineintel", "avx512_bf16"}
"""Intel's AVX-512 products, if a virtual machine hides AMX beside them: measured at half the speed of float32's."""


def choose(dtype: str, weights: int, gpu: bool) -> str:
    """``float32`` or ``bfloat16`` for a model of so many weights; ``dtype`` is ``auto`` or one of the two.

    ``auto`` takes bfloat16 where there are instructions for it: on a GPU, and on a processor if the model is large.
    """
    if dtype != "auto":
        return dtype
    return "bfloat16" if (gpu or weights > LARGE) and fast_bfloat16(gpu) else "float32"


def warning(dtype: str, gpu: bool) -> str:
    """A sentence if ``dtype`` asks for what this machine is slow at, else ""."""
    if dtype != "bfloat16" or fast_bfloat16(gpu):
        return ""
    place = "GPU" if gpu else "processor"
    return f"dtype: bfloat16 is slow here, because this {place} has no fast instructions for it; float32 is faster"


def fast_bfloat16(gpu: bool) -> bool:
    """Whether the GPU, or else the processor, multiplies bfloat16 numbers. GPUs before Ampere only imitate it."""
    if not gpu:
        return processor_has_bfloat16()
    import torch

    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def processor_has_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor multiplies bfloat16 numbers faster than float32; False if the system does not say."""
    if not cpuinfo.is_file():
        return False
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").lower().splitlines()
    listed = {word for line in lines if line.startswith(("vendor_id", "flags", "features")) for word in line.split()}
    return not listed.isdisjoint(_INSTRUCTIONS) and not (listed >= _SLOW and "amx_bf16" not in listed)
