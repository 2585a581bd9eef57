"""Checks a model folder's files before they are loaded, and its weights afterwards: all there, whole and finite."""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from laif_helpers import records
from laif_helpers.models import columns

WEIGHTS = ("model.safetensors", "pytorch_model.bin", "adapter_model.safetensors", "adapter_model.bin")
"""What transformers and PEFT read; in parts, each has an index beside it."""
ZERO = "zero_to_fp32.py"
_WORDS = (".json", ".txt", ".md", ".jinja", ".py", ".model")
_POINTER = b"version https://git-lfs"
_NUMBER = re.compile(r"\d+")


def unreadable(folder: Path) -> Iterator[str]:
    """Files that are a git-lfs pointer, cut, broken or missing; of weights the headers are read alone."""
    if not folder.is_dir():
        return
    fetch = "fetch it again, or run `git lfs pull` in its folder"
    if gone := sorted(file for file in folder.iterdir() if not file.exists()):
        yield f"{gone[0]}: a link that leads nowhere; {fetch}"
        return
    for file in sorted(folder.glob("*.json")):
        text = file.read_bytes()
        if text.startswith(_POINTER) or not _is_json(text):
            kind = "a git-lfs pointer" if text.startswith(_POINTER) else "no valid JSON"
            yield f"{file}: {kind} instead of what belongs there; {fetch}"
    # the first that is there is loaded; a repository fetched in part may leave the index of others
    read = next((name for name in WEIGHTS for end in ("", ".index.json") if (folder / f"{name}{end}").is_file()), "")
    if not read:
        yield f"{folder}: no weights ({WEIGHTS[0]} or {WEIGHTS[1]}){_instead(folder)}"
    for file in sorted(folder.glob("*.safetensors")):
        wanted, size = bytes_wanted(file), file.stat().st_size
        if wanted == 0:
            yield f"{file}: a git-lfs pointer instead of weights; {fetch}"
        elif wanted != size:
            yield f"{file}: cut or no safetensors file ({size:,} bytes, its header wants {wanted:,}); {fetch}"
    parts = {} if (folder / read).is_file() else records.read_state(folder / f"{read}.index.json")
    for name in sorted(set(parts.get("weight_map", {}).values())):
        if not (folder / name).is_file():
            yield f"{folder / name}: this part of the weights is missing; fetch it too"
    config = records.read_state(folder / "config.json")
    said = config.get("dtype") or config.get("torch_dtype") if isinstance(config, dict) else None
    if isinstance(said, str) and not re.fullmatch(r"b?float\d\w*|half|double", said):
        yield f"{folder / 'config.json'}: dtype {said!r} is none of torch's; write bfloat16, float16 or float32"


def _instead(folder: Path) -> str:
    """What lies in a folder without weights, and what to do: models further down, or files under other names."""
    kinds = ("config.json", "adapter_config.json")
    models = {file.parent for depth in ("*", "*/*") for name in kinds for file in folder.glob(f"{depth}/{name}")}
    files = {path for path in folder.glob("*") if path.suffix not in _WORDS}
    found = ", ".join(str(path.relative_to(folder)) for path in sorted(models or files)[:3])
    joined = "run `python zero_to_fp32.py . .` there, which joins DeepSpeed's parts" * (folder / ZERO).is_file()
    mend = "name one of these folders" if models else joined or "fetch or convert them, or correct the path"
    return f", but {found}; {mend}" if found else f"; {mend}"


def _is_json(text: bytes) -> bool:
    try:
        return isinstance(json.loads(text), dict | list)
    except ValueError:
        return False


def bytes_wanted(file: Path) -> int:
    """How long a safetensors file is by its own header; 0 for a git-lfs pointer, -1 if there is no header."""
    header, length = read_header(file)
    if header is None:
        with file.open("rb") as handle:
            return 0 if handle.read(len(_POINTER)) == _POINTER else -1
    ends = (part["data_offsets"][1] for name, part in header.items() if name != "__metadata__")
    return 8 + length + max(ends, default=0)


def read_header(file: Path) -> tuple[dict[str, Any] | None, int]:
    """What a safetensors file says of its tensors, and how many bytes that takes; None if it is no such file."""
    with file.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        try:
            return (json.loads(handle.read(length)) if length < 100_000_000 else None), length
        except ValueError:
            return None, length


def wrong(model: Any, info: dict[str, Any]) -> str:
    """What is wrong with weights that were loaded: the model would answer all the same; "" if nothing."""
    if other := sorted(info["mismatched_keys"]):
        name, here, wanted = other[0][:3]
        return f"its files' {name} is {tuple(here)}, and {tuple(wanted)} by its config.json"
    if missing := sorted(info["missing_keys"]):  # transformers draws them at random
        other = sorted(info["unexpected_keys"])
        instead = f", and hold {other[0]}, which has no place in it" if other else ""
        return f"its files lack {len(missing)} of the weights, such as {missing[0]}{instead}"
    if beyond := _beyond(model, info["unexpected_keys"]):
        return f"its files hold {len(beyond)} weights more than its config.json has layers for, such as {beyond[0]}"
    # the least and the largest number of a matrix are NaN if one is; its answers would be empty ones, or one word
    wide = (each for each in model.named_parameters() if columns.plain(each[1]) and each[1].element_size() > 1)
    if bad := [name for name, part in wide if part.numel() and not (part.max() - part.min()).isfinite()]:
        return f"{len(bad)} of its weights are no finite numbers (NaN, inf), such as {bad[0]}"
    return ""


def _beyond(model: Any, unexpected: Iterable[str]) -> list[str]:
    """Names of weights that the model has, but for a number that is none of its layers': it would answer without
    them. Those behind the last layer that guess more than one token are left out by design."""
    if getattr(model.config.get_text_config(), "num_nextn_predict_layers", 0):
        return []
    kinds = {_NUMBER.sub("#", name) for name in model.state_dict()}
    return sorted(name for name in unexpected if _NUMBER.sub("#", name) in kinds)
