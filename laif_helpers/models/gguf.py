"""Converts a GGUF file (of llama.cpp) to a plain Hugging Face folder: weights, tokenizer, chat template and a card.

transformers reads the file and refuses to save what it dequantised, so the values go into a model without that mark.
A target in this form is trained, exported and served like any other.
"""

import contextlib
import hashlib
import io
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from laif_helpers.paths import ROOT, resolve
from laif_helpers.records import write_text
from laif_helpers.target import Target

BYTES_A_WEIGHT = 4  # float32 holds every quantised value exactly
FACTORS = ("rope_freqs.weight", "rope_factors_short.weight", "rope_factors_long.weight")
"""By which llama.cpp divides the frequencies of angles: Llama 3's from 3.1 on, and longrope's two sets."""
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
_DIGITS_APART = "smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"
SPLITS = {name: [r"\p{N}", _GPT2] for name in _DIGITS_APART} | {
    "falcon": [r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, "[0-9][0-9][0-9]"],
    "deepseek-coder": [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", r"\p{N}"],
}
"""By llama.cpp's name of it, how a text is split, one expression after the other: those that transformers lacks."""
_AS_GPT2 = """
default gpt-2 phi-2 mpt olmo jais granite-docling a.x-4.0 mellum gigachat trillion exaone4 modern-bert roberta-bpe
jina-v2-de
"""
AS_GPT2 = {"", *_AS_GPT2.split()}
AS_QWEN2 = "stablelm2", "hunyuan"
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}


@dataclass(frozen=True)
class Header:
    """What a GGUF file says of itself; ``weights`` is their number, ``quantisation`` the file's, e.g. ``Q4_1``."""

    name: str
    architecture: str
    licence: str
    quantisation: str
    pre_tokenizer: str
    weights: int
    pieces: str = "gpt2"
    """``gpt2``: of bytes; ``llama``: sentencepiece's."""
    spaced: bool = True
    """sentencepiece's: whether a space goes before a text, and before what follows each mark."""
    control: tuple[str, ...] = ()
    """Tokens that are marks, such as ``<|end|>``."""
    sampling: dict[str, Any] = field(default_factory=dict)
    """What the file asks llama.cpp to draw with."""
    template: str = ""
    told: dict[str, Any] = field(default_factory=dict)
    """What it says of its architecture, and the factors of its angles by the names of their tensors."""


def folder_of(name: str) -> Path:
    """Where the plain folder of a GGUF file lies, made or not: a changed file gets another one, as did those written
    before their angles were scaled."""
    file = resolve(name)
    stat = file.stat()
    with file.open("rb") as handle:
        digest = hashlib.sha256(f"scaled {stat.st_size} {stat.st_mtime_ns}".encode() + handle.read(1 << 20))
    return ROOT / "data" / "downloads" / "gguf" / f"{file.stem}-{digest.hexdigest()[:12]}"


def prepare(name: str) -> str:
    """The folder to load for a model: a GGUF file's plain folder, written if it is not there yet; others as named.

    Raises ValueError as ``to_folder`` does.
    """
    if Target.of(name).kind != "gguf":
        return name
    file, folder = resolve(name), folder_of(name)
    if not (folder / "config.json").is_file():
        print(f"{file.name}: written once as a plain model folder, {folder.name}")
        to_folder(file, folder)
    return str(folder)


def read_header(path: Path) -> Header:
    """Raises ValueError if ``path`` is no GGUF file."""
    from gguf import GGUFReader, LlamaFileType, TokenType

    if not path.is_file():
        raise ValueError(f"{path}: there is no such file; check the path")
    try:
        reader = GGUFReader(path)
        fields = {key: field.contents() for key, field in reader.fields.items() if "merges" not in key}
    except (ValueError, KeyError, IndexError) as error:
        raise ValueError(f"{path} is not a readable GGUF file ({error}); fetch it again") from error
    if (parts := fields.get("split.count", 1)) > 1:
        raise ValueError(f"{path}: one of {parts} parts; join them with llama-gguf-split --merge")
    kind, architecture = fields.get("general.file_type"), str(fields.get("general.architecture", "unknown"))
    told = {key.partition(".")[2]: value for key, value in fields.items() if key.startswith(f"{architecture}.")}
    told |= {tensor.name: tensor.data.tolist() for tensor in reader.tensors if tensor.name in FACTORS}
    tokens, kinds = fields.get("tokenizer.ggml.tokens", []), fields.get("tokenizer.ggml.token_type", [])
    return Header(
        name=str(fields.get("general.name", path.stem)),
        architecture=architecture,
        licence=str(fields.get("general.license", "unknown")),
        quantisation=LlamaFileType(kind).name.removeprefix("MOSTLY_") if kind is not None else "unknown",
        pre_tokenizer=str(fields.get("tokenizer.ggml.pre", "")),
        pieces=str(fields.get("tokenizer.ggml.model", "")),
        spaced=bool(fields.get("tokenizer.ggml.add_space_prefix", True)),
        weights=sum(int(tensor.n_elements) for tensor in reader.tensors),
        control=tuple(token for token, of in zip(tokens, kinds, strict=False) if of == TokenType.CONTROL),
        sampling={key.rpartition(".")[2]: value for key, value in fields.items() if "general.sampling." in key},
        template=str(fields.get("tokenizer.chat_template", "")),
        told=told,
    )


def to_folder(path: Path, folder: Path, origin: str = "") -> Path:
    """Write ``path`` as ``folder`` (replaced as a whole) and return it. ``origin``: where the file came from.

    Raises ValueError if the file cannot be read, if transformers does not know its architecture, or if the disk has
    no room for the weights in float32.
    """
    header = read_header(path)
    check_room(folder, header.weights)
    model, tokenizer = _load(path, header)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    _without_quantisation(model).save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    write_text(partial / "README.md", _card(folder.name, header, path, origin))
    shutil.rmtree(folder, ignore_errors=True)
    return partial.rename(folder)


def check_room(folder: Path, weights: int) -> None:
    """Raises ValueError if ``weights`` in float32 do not fit on the disk of ``folder``."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    needed, free = weights * BYTES_A_WEIGHT, shutil.disk_usage(folder.parent).free
    if needed > free:
        raise ValueError(
            f"{folder} needs {needed / 1e6:,.0f} MB for {weights:,} weights and its disk has {free / 1e6:,.0f} MB "
            "free; make room, or name another folder"
        )


def _load(path: Path, header: Header) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        with contextlib.redirect_stderr(io.StringIO()):  # a line of progress for every tensor
            model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    except (ValueError, KeyError, NotImplementedError, RuntimeError) as error:
        raise ValueError(
            f"{path}: transformers cannot read its architecture {header.architecture!r} "
            f"({str(error).splitlines()[0]}); use the model's safetensors"
        ) from error
    _scale_angles(model.config, header)
    if by := splits(header):
        _split(tokenizer, by)
    elif header.pieces == "llama" and header.architecture != "phi3" and "gemma" not in header.architecture:
        _space(tokenizer, header.spaced)  # the readers of those two are right
    # transformers keeps only the marks that begin and end a text; a turn's end must stop an answer and stay unseen.
    tokenizer.add_special_tokens({"extra_special_tokens": list(header.control)})
    return model, tokenizer


def _scale_angles(config: Any, header: Header) -> None:
    """Give a config what its file says of angles, of which transformers' reader leaves out nearly all: every text of
    Llama 3.1, Phi 4 mini or a Qwen with YaRN would be another. Raises ValueError for a way that has no name there."""
    told, ropes = header.told, getattr(config, "rope_parameters", None)
    if not ropes:
        return
    rope = ropes.get("full_attention", ropes)  # Gemma 3 scales those of the layers that see everything
    rope["rope_theta"] = told.get("rope.freq_base", rope["rope_theta"])
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if (turned := told.get("rope.dimension_count", head)) < head:
        rope["partial_rotary_factor"] = turned / head
    freqs, short, long = (told.get(name, []) for name in FACTORS)
    kind = "llama3" if freqs else "longrope" if long else str(told.get("rope.scaling.type", "none"))
    if kind == "none" or rope["rope_type"] != "default":
        return
    rope |= {"rope_type": kind, "factor": told.get("rope.scaling.factor", 1.0)}
    if original := told.get("rope.scaling.original_context_length"):
        rope["original_max_position_embeddings"] = config.original_max_position_embeddings = original
    if kind == "longrope":
        rope |= {"short_factor": short, "long_factor": long, "factor": config.max_position_embeddings / original}
    if kind == "llama3":
        rope |= LLAMA3 | {"factor": max(freqs)}
    if kind not in ("linear", "yarn", "llama3", "longrope") or (freqs and not _gives(config, rope, freqs)):
        raise ValueError(
            f"a GGUF file of {header.name!r} scales its angles in a way ({kind}) that transformers cannot be told; use "
            "the model's safetensors, or serve it (target: server:…)"
        )


def _gives(config: Any, rope: dict[str, Any], factors: list[float]) -> bool:
    """Whether transformers divides frequencies by the same factors as the file."""
    import torch
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    plain = 1.0 / rope["rope_theta"] ** (torch.arange(0, 2 * len(scaled), 2) / (2 * len(scaled)))
    return len(scaled) == len(factors) and torch.allclose(plain / scaled, torch.tensor(factors), rtol=1e-3)


def _space(tokenizer: Any, before: bool) -> None:
    """Have a space go before each text between marks, or before none, as llama.cpp does. transformers' reader puts one
    before a whole prompt alone, so ``<s>[INST]`` of Llama 2 and Mistral was not the token that they were trained on."""
    from tokenizers import normalizers

    first = [normalizers.Prepend("▁")] if before else []
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence([*first, normalizers.Replace(" ", "▁")])
    tokenizer.backend_tokenizer.pre_tokenizer = None


def splits(header: Header) -> list[str]:
    """How the file's texts are split before anything else, where transformers would take GPT-2's way for what it does
    not know: other tokens. [] if it knows. Raises ValueError for a way that nobody here knows."""
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    pre = header.pre_tokenizer
    if header.pieces != "gpt2" or pre in GGUF_PRE_TOKENIZER_SPLITS or pre in AS_GPT2:
        return []
    if found := [GGUF_PRE_TOKENIZER_SPLITS["qwen2"]] if pre in AS_QWEN2 else SPLITS.get(pre):
        return found
    raise ValueError(
        f"the GGUF file of {header.name!r} splits its texts in a way ({pre}) that transformers does not know, which "
        "would give other tokens; use the model's safetensors, or serve it (target: server:…)"
    )


def _split(tokenizer: Any, by: list[str]) -> None:
    from tokenizers import Regex, pre_tokenizers

    steps = [pre_tokenizers.Split(Regex(split), behavior="isolated") for split in by]
    last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*steps, last])


def _without_quantisation(model: Any) -> Any:
    """The same values in a model that was never quantised; its own memory is not taken twice."""
    import torch
    from transformers import AutoModelForCausalLM

    config = model.config
    del config.quantization_config
    with torch.device("meta"):
        plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    plain.load_state_dict(model.state_dict(), assign=True)
    plain.tie_weights()
    plain.generation_config = model.generation_config
    return plain


def _card(title: str, header: Header, path: Path, origin: str) -> str:
    return (
        f"---\nlicense: {header.licence}\nlibrary_name: transformers\npipeline_tag: text-generation\n---\n"
        f"# {title}\n\n"
        f"Weights, tokenizer and chat template of `{path.name}`{f' ({origin})' if origin else ''}, which calls itself "
        f"{header.name!r}. Licence: {header.licence}.\n\n"
        f"Dequantised from {header.quantisation} to float32: {header.weights:,} weights, each within that format's "
        "rounding of the original's. So its scores are those of the quantised file.\n"
    )
