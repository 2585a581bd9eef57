"""Checks whether a local model can be a target, from its config, tokenizer and the headers of its weights.

``laif doctor`` and loading ask the same questions; each finding is a sentence with the fix. Nothing heavy is loaded.
"""

import json
import math
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from laif_helpers import records, target
from laif_helpers.models import gguf
from laif_helpers.paths import resolve
from laif_helpers.target import Target

WEIGHTS = ("model.safetensors", "pytorch_model.bin", "adapter_model.safetensors", "adapter_model.bin")
"""What transformers and PEFT read; in parts, each has an index beside it."""
PROBE = "How many qzvx are 7 and 5?"
_POINTER = b"version https://git-lfs"


def problems(name: str, taught: bool = False) -> list[str]:
    """Sentences about what keeps ``name`` (a folder, a GGUF file or a hub name) from answering, or, if it is to be
    ``taught``, from learning; [] if nothing does."""
    from transformers import AutoConfig

    folder = resolve(name)
    try:
        if Target.of(name).kind == "gguf":
            gguf.read_header(folder)
            return []
        if found := list(unreadable(folder)):
            return found
        path = str(folder) if folder.is_dir() else name
        base = adapter_base(folder) or path
        if base != path and (away := target.unreachable(base, "the adapter's base")):
            return [away]
        config = AutoConfig.from_pretrained(base, trust_remote_code=False)  # else it asks whoever sits there
        tokenizer = tokenizer_of(name)
    except Exception as error:  # other people's configs and tokenizers raise anything
        words = " ".join(str(error).split())[:400]
        return [f"model {name!r} cannot be read: {words}; what transformers alone cannot read can be served (serve:)"]
    rows = embedded_rows(folder) or config.get_text_config().vocab_size
    told = (
        architecture(name, config),
        quantised(name, config),
        template(name, tokenizer),
        fits(name, tokenizer, rows),
        ends(name, tokenizer),
        learnable(name, tokenizer) if taught else "",
    )
    return [sentence for sentence in told if sentence]


def quantised(name: str, config: Any) -> str:
    """What a quantised model needs and this machine lacks, in its library's words; "" if nothing."""
    if not (how := getattr(config, "quantization_config", None)):
        return ""
    from transformers.quantizers import AutoHfQuantizer

    try:
        AutoHfQuantizer.from_config(how, pre_quantized=True).validate_environment(device_map=None)
    except Exception as error:  # each library checks in its own way
        return f"model {name!r} is quantised: {' '.join(str(error).split())[:300]}; or take its unquantised weights"
    return ""


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
        kinds = ("*.safetensors", "*.gguf", "*.pth", "*.bin", "checkpoint-*", "snapshots/*", "zero_to_fp32.py")
        there = [str(path.relative_to(folder)) for kind in kinds for path in folder.glob(kind)][:3]
        found = f", but {', '.join(there)}" if there else ""
        yield f"{folder}: no weights ({WEIGHTS[0]} or {WEIGHTS[1]}){found}; fetch or convert them, or correct the path"
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


def _is_json(text: bytes) -> bool:
    try:
        return isinstance(json.loads(text), dict | list)
    except ValueError:
        return False


def bytes_wanted(file: Path) -> int:
    """How long a safetensors file is by its own header; 0 for a git-lfs pointer, -1 if there is no header."""
    header, length = _header(file)
    if header is None:
        with file.open("rb") as handle:
            return 0 if handle.read(len(_POINTER)) == _POINTER else -1
    ends = (part["data_offsets"][1] for name, part in header.items() if name != "__metadata__")
    return 8 + length + max(ends, default=0)


def _header(file: Path) -> tuple[dict[str, Any] | None, int]:
    with file.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        try:
            return (json.loads(handle.read(length)) if length < 100_000_000 else None), length
        except ValueError:
            return None, length


def adapter_base(folder: Path) -> str:
    """What to load below a LoRA adapter's folder; "" if it is none. Raises ValueError if the adapter does not say."""
    if not (adapter := folder / "adapter_config.json").is_file():
        return ""
    base = str(records.read_json(adapter).get("base_model_name_or_path") or "")
    places = [place for place in (resolve(base), folder / base) if (place / "config.json").is_file()]
    if others := [place for place in places if not place.samefile(folder)]:
        return str(others[0])
    if folder.resolve() in (resolve(base).resolve(), (folder / base).resolve()):
        raise ValueError(f"{adapter}: no base_model_name_or_path of another model; the adapter's base is unknown")
    target.check(base, f"base_model_name_or_path of {adapter}")
    return base


def base_of(name: str) -> str:
    """The model that holds all weights: what lies below a LoRA adapter, else the model itself."""
    return adapter_base(resolve(name)) or name


def tokenizer_of(name: str) -> Any:
    """A model's tokenizer; a LoRA adapter that was saved without one has its base's."""
    from transformers import AutoTokenizer

    folder = resolve(name)
    own = str(folder) if folder.is_dir() else name
    bare = folder.is_dir() and not [*folder.glob("tokenizer*")]
    tokenizer = AutoTokenizer.from_pretrained(base_of(name) if bare else own, trust_remote_code=False)
    if not tokenizer.chat_template:  # older processors of images and text keep it in a file of their own
        tokenizer.chat_template = records.read_state(folder / "chat_template.json").get("chat_template")
    return tokenizer


def weights(name: str) -> int:
    """Numbers in a folder's safetensors files (of an adapter, its base's too); 0 if they are not on this machine."""
    folder = resolve(name)
    if not folder.is_dir():
        return 0
    # not consolidated.safetensors, which holds the same weights again
    headers = (_header(file)[0] or {} for file in folder.glob("*model*.safetensors"))
    shapes = [part["shape"] for header in headers for tensor, part in header.items() if tensor != "__metadata__"]
    base = adapter_base(folder)
    return sum(math.prod(shape) for shape in shapes) + (weights(base) if base else 0)


def embedded_rows(folder: Path) -> int:
    """Rows of the embedding that a LoRA adapter brings, because tokens were added to its base; 0 if it brings none."""
    file = folder / "adapter_model.safetensors"
    header = (_header(file)[0] if file.is_file() else None) or {}
    names = (name for name in header if "lora_" not in name and name.endswith(("embed_tokens.weight", "wte.weight")))
    return next((int(header[name]["shape"][0]) for name in names), 0)


def adapted(model: Any, folder: str, **options: Any) -> Any:
    """The LoRA adapter of ``folder`` on its base. Raises UserWarning if a part of it finds no place there."""
    from peft import PeftModel

    if rows := embedded_rows(Path(folder)):  # tokens were added before the adapter was trained
        model.resize_token_embeddings(rows)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Found missing adapter keys")  # the rest would act as if it were all
        return PeftModel.from_pretrained(model, folder, **options)


def architecture(name: str, config: Any) -> str:
    """A sentence if it is no causal language model of the installed transformers."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if not config.is_encoder_decoder and config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return ""
    return (
        f"model {name!r} is of type {config.model_type!r}, which transformers does not load as a causal language model "
        "(an encoder, an encoder-decoder, no model of text); choose a chat model, or serve it and set target: server:…"
    )


def template(name: str, tokenizer: Any) -> str:
    """A sentence if there is no chat template, or if what is asked does not come through it."""
    if not tokenizer.chat_template:
        return (
            f"model {name!r} has no chat template, so its prompt format is unknown: use its instruct version, "
            "or put a chat_template.jinja into its folder"
        )
    if content_form(tokenizer) != "lost":
        return ""
    return (
        f"the chat template of model {name!r} loses the question: it does not stand in the prompt that it writes"
        f"{_own_words(tokenizer)}; put the right chat_template.jinja into the model's folder"
    )


def content_form(tokenizer: Any) -> str:
    """How the template takes a message's content: ``text``, ``parts`` ([{"type": "text", …}]), or ``lost``."""
    for form in ("text", "parts"):
        turns = [in_form({"role": "user", "content": PROBE}, form)]
        try:
            text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        except Exception:  # a template may raise anything of its own: this form is not for it
            continue
        # A list that is written as Python spells it is no use of parts.
        if PROBE in text and "{'type'" not in text:
            return form
    return "lost"


def _own_words(tokenizer: Any) -> str:
    """In brackets, what the template says against a plain question; "" if it takes one."""
    try:
        tokenizer.apply_chat_template([{"role": "user", "content": PROBE}], tokenize=False, add_generation_prompt=True)
    except Exception as error:  # as above
        return f" ({type(error).__name__}: {' '.join(str(error).split())[:120]})"
    return ""


def in_form(turn: dict[str, str], form: str) -> dict[str, Any]:
    """A message as the template takes it."""
    return turn if form == "text" else turn | {"content": [{"type": "text", "text": turn["content"]}]}


def fits(name: str, tokenizer: Any, rows: int) -> str:
    """A sentence if the prompt's own marks lie beyond the embedding's ``rows``: it was not resized for added tokens."""
    ids = tokenizer(_answered(tokenizer), add_special_tokens=False)["input_ids"]
    beyond = min((token for token in ids if token >= rows), default=0)
    return too_large(name, tokenizer, beyond, rows) if beyond else ""


def learnable(name: str, tokenizer: Any) -> str:
    """A sentence if the template writes a question and not what an assistant says to it."""
    if _answered(tokenizer).count(PROBE) == 2 or template(name, tokenizer):
        return ""
    return (
        f"the chat template of model {name!r} does not write what the assistant says, so the model can answer and not "
        "be trained; put the right chat_template.jinja into its folder"
    )


def _answered(tokenizer: Any) -> str:
    """A question and an answer, both ``PROBE``, as the template writes them; "" if it refuses them."""
    form = content_form(tokenizer)
    turns = [in_form({"role": role, "content": PROBE}, form) for role in ("user", "assistant")]
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False))
    except Exception:  # as above
        return ""


def too_large(name: str, tokenizer: Any, token: int, rows: int) -> str:
    return (
        f"model {name!r}: its tokenizer writes token {token} ({tokenizer.convert_ids_to_tokens(token)!r}), and its "
        f"embedding has {rows:,} rows; take the tokenizer that belongs to these weights, or resize the embedding "
        "(model.resize_token_embeddings) and train the new rows"
    )


def ends(name: str, tokenizer: Any) -> str:
    """A sentence if nothing ends an answer: training needs such a token, and answers would run to their longest."""
    if tokenizer.eos_token_id is not None:
        return ""
    return (
        f"model {name!r}: its tokenizer has no end-of-sequence token; name the token that ends an answer as eos_token "
        "in its tokenizer_config.json"
    )


if __name__ == "__main__":
    import sys

    for line in problems(sys.argv[1], taught=True):
        print(f"problem: {line}")
