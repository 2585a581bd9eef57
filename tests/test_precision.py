"""The precision of a model: what is asked for, what the machine is good at, and how large the model is."""

from pathlib import Path

import pytest

from laif_helpers.models import precision


@pytest.mark.parametrize(
    "flags, known",
    [
        ("flags\t\t: fpu avx512f avx512_bf16 sse", True),
        ("flags : amx_bf16 amx_tile", True),
        ("vendor_id\t: AuthenticAMD\nflags\t\t: fpu avx512_bf16", True),
        ("vendor_id\t: GenuineIntel\nflags\t\t: fpu avx512_bf16 amx_bf16", True),
        ("vendor_id\t: GenuineIntel\nflags\t\t: fpu avx512_bf16 avx512_fp16", False),  # AMX is hidden
        ("Features\t: fp asimd bf16 i8mm", True),
        ("flags : fpu avx512f avx512vl", False),
        ("flags : nobf16", False),
        ("", False),
    ],
)
def test_instructions_are_read_from_the_processors_flags(tmp_path: Path, flags: str, known: bool) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{flags}\nbugs : none\n")
    assert precision.processor_has_bfloat16(tmp_path / "cpuinfo") is known
    assert not precision.processor_has_bfloat16(tmp_path / "elsewhere")


@pytest.mark.parametrize("has", [True, False])
def test_auto_takes_bfloat16_for_large_models_where_it_is_fast(monkeypatch: pytest.MonkeyPatch, has: bool) -> None:
    monkeypatch.setattr(precision, "processor_has_bfloat16", lambda: has)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: including_emulation or has)
    assert precision.choose("auto", 135_000_000, gpu=False) == ("bfloat16" if has else "float32")
    assert precision.choose("auto", 1_000_000, gpu=False) == "float32"
    assert precision.choose("auto", 1_000_000, gpu=True) == ("bfloat16" if has else "float32")
    assert precision.choose("float32", 135_000_000, gpu=True) == "float32"
    assert precision.choose("bfloat16", 1_000_000, gpu=False) == "bfloat16", "asked for, so done"


def test_what_is_slow_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "processor_has_bfloat16", lambda: False)
    assert "no fast instructions for it; float32 is faster" in precision.warning("bfloat16", gpu=False)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: True)
    assert not precision.warning("bfloat16", gpu=True) and not precision.warning("auto", gpu=False)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: including_emulation)
    assert "this GPU has no fast instructions for it" in precision.warning("bfloat16", gpu=True)
    monkeypatch.setattr(precision, "processor_has_bfloat16", lambda: True)
    assert not precision.warning("bfloat16", gpu=False)
