"""Loads a chat model on this machine, renders conversations with its own template, and sizes batches from memory."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from laif_helpers import launch, target
from laif_helpers.graders import turns as thoughts
from laif_helpers.models import adapters, check, columns, gguf, precision, tokenizers, weight_files
from laif_helpers.models.sampling import Sampling
from laif_helpers.paths import resolve
from laif_helpers.records import Completion, Message

MAX_ROWS_CPU = 256
"""Larger batches gain nothing on CPU cores and keep the first answer waiting."""
MAX_ROWS_GPU = 1024
MEMORY_SHARE = 0.4
"""Share of the free memory given to the cache: rows that join are copied beside it; activations need the rest."""


@dataclass(frozen=True)
class LocalModel:
    """A loaded model with its tokenizer, the ids that end an answer, and the most tokens it can see."""

    name: str
    model: Any
    tokenizer: Any
    stop_ids: list[int]
    context: int


def load(name: str, dtype: str = "auto", template_values: Mapping[str, Any] | None = None) -> LocalModel:
    """Load a folder (also a LoRA adapter's), a GGUF file or a hub name; ``dtype``: see ``chosen_dtype``.

    The last model stays loaded until another is asked for or its files change. Raises ValueError when it cannot
    be loaded or cannot answer, FileNotFoundError for a path that leads nowhere.
    """
    name = gguf.prepare(name)
    chosen = chosen_dtype(name, dtype)
    if slow := precision.warning(dtype, _gpu()):
        print(slow)
    local = _load(name, fingerprint(name), chosen)
    return replace(local, tokenizer=tokenizers.with_values(local.tokenizer, template_values or {}))


def chosen_dtype(name: str, dtype: str) -> str:
    """``float32`` or ``bfloat16``: as ``dtype`` says, or ``auto``, by this machine and the size of the model; "" for a
    server's."""
    if not target.Target.of(name).local:
        return ""
    return precision.choose(dtype, check.weights(name), _gpu())


def _gpu() -> bool:
    """Whether there is a GPU that torch can use; torch is asked only if the machine has one."""
    if not launch.gpus():
        return False
    import torch

    return bool(torch.cuda.is_available())


def fingerprint(name: str) -> str:
    """What must be equal for two answers to come from the same model: for a server's its name; else a short hash of the
    files of the folder, or of the name of a hub model (whose files a revision fixes).

    Files up to 64 MB count by content, larger ones by size, time and first megabyte.
    """
    if target.Target.of(name).kind == "server":
        return name
    name = gguf.prepare(name)
    folder = target.Target.of(name).path or resolve(name)
    digest = hashlib.sha256(name.encode() if not folder.is_dir() else b"")
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.suffix in {".json", ".safetensors", ".bin", ".model", ".jinja", ".txt"}:
            stat = path.stat()
            digest.update(f"{path.name} {stat.st_size}".encode())
            with path.open("rb") as handle:
                digest.update(handle.read(1 << 20 if stat.st_size > 64 << 20 else -1))
            if stat.st_size > 64 << 20:
                digest.update(str(stat.st_mtime_ns).encode())
    if (folder / "adapter_config.json").is_file():
        digest.update(fingerprint(adapters.adapter_base(folder)).encode())
    return digest.hexdigest()[:16]


@lru_cache(maxsize=1)
def _load(name: str, _fingerprint: str, dtype: str) -> LocalModel:
    import torch

    target.check(name, "model")
    if found := check.problems(name):
        raise ValueError("; ".join(found))
    try:
        tokenizer = check.tokenizer_of(name)
        tokenizers.take_text(tokenizer)
        model, info = _quietly(_weights, check.source(name), getattr(torch, dtype))
    except MemoryError:
        raise
    except Exception as error:  # other people's files raise anything
        words = (str(error).strip() or type(error).__name__).splitlines()
        why = " ".join(words[: 1 + words[0].endswith(":")])
        raise ValueError(f"model {name!r} cannot be loaded: {why}") from error
    if wrong := weight_files.wrong(model, info):
        raise ValueError(f"model {name!r} cannot be loaded: {wrong}; fetch or save it again")
    from laif_helpers.models.decoding import context_length

    if _gpu():  # its cache of freed memory would grow until nothing is left to the stages beside this one
        torch.cuda.set_per_process_memory_fraction(_gpu_share())
        model = _on_gpu(name, model)
    else:
        columns.store(model)
    model.eval()
    return LocalModel(name, model, tokenizer, stop_ids(model, tokenizer), context_length(model))


def _quietly(load_weights: Callable[..., Any], *arguments: Any) -> Any:
    """Without transformers' own progress bar, which would write hundreds of lines into a notebook."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        return load_weights(*arguments)
    finally:
        if shown:
            logging.enable_progress_bar()


def _weights(path: str, dtype: Any) -> tuple[Any, dict[str, Any]]:
    """The model, and what transformers says of its files."""
    from transformers import AutoModelForCausalLM

    base = adapters.adapter_base(Path(path))  # merged, for apart an adapter costs two more products a layer and token
    how = {"dtype": dtype, "output_loading_info": True, "ignore_mismatched_sizes": True}  # ``wrong`` names them
    model, info = AutoModelForCausalLM.from_pretrained(base or path, **how)
    return (adapters.merged(model, path) if base else model), info


def stop_ids(model: Any, tokenizer: Any) -> list[int]:
    """Ids that end an answer: the generation config's, the tokenizer's, and what the template ends a turn with."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    ids = set(configured) if isinstance(configured, list) else {configured}
    ids |= {tokenizer.eos_token_id, turn_end(tokenizer)}
    return sorted(i for i in ids if isinstance(i, int))


def turn_end(tokenizer: Any) -> int | None:
    """The special token that the chat template writes after an assistant's words, e.g. ``<|im_end|>``."""
    marker = "qzvx"
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": marker}]
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False)
    except Exception:  # a template may raise anything of its own; this only looks for one more stop token
        return None
    after = tokenizer(text.partition(marker)[2], add_special_tokens=False)["input_ids"]
    added = (i for i, token in tokenizer.added_tokens_decoder.items() if token.special)  # Llama 3 names few of them
    return next((i for i in after if i in {*tokenizer.all_special_ids, *added}), None)


def prompt_ids(local: LocalModel, conversations: list[list[Message]]) -> list[list[int]]:
    """Token ids of each conversation with the model's own template and the opening of its answer.

    Raises ValueError if the template refuses them or loses a question, or if a token has no row in the embedding.
    """
    for content in (turn["content"] for turns in conversations for turn in turns):
        if not isinstance(content, str):
            raise ValueError(f"content {content!r:.60} is {type(content).__name__}; a model of this machine reads text")
    texts = tokenizers.written(local.tokenizer, conversations, add_generation_prompt=True)
    for turns, text in zip(conversations, texts, strict=True):
        if turns[-1]["content"].strip() not in text:
            raise ValueError(
                f"the chat template of model {local.name!r} loses a question: {turns[-1]['content']!r:.80} does not "
                "stand in the prompt; put the right chat_template.jinja into the model's folder"
            )
    ids = tokenizers.ids_of(local.tokenizer, texts)
    rows = local.model.get_input_embeddings().num_embeddings
    if beyond := next((token for prompt in ids for token in prompt if token >= rows), 0):
        raise ValueError(check.too_large(local.name, local.tokenizer, beyond, rows))
    return ids


def answer(
    local: LocalModel, conversations: list[list[Message]], how: Sampling, batch_size: int
) -> Iterator[tuple[int, Completion]]:
    """Yield ``(index, completion)`` as answers finish. A prompt that does not fit the context is not asked."""
    from laif_helpers.models import decoding

    ids = prompt_ids(local, conversations)
    prompts = []
    for index, (prompt, row_seed) in enumerate(zip(ids, decoding.seeds(ids, how.seed, how.numbers), strict=True)):
        room = local.context - len(prompt)
        if room < 1 or not prompt:
            reason = f"prompt of {len(prompt)} tokens exceeds the context of {local.context}"
            yield index, Completion("", len(prompt), 0, f"error: {reason if prompt else 'the prompt is empty'}")
        else:
            prompts.append(decoding.Prompt(index, prompt, min(how.max_new_tokens[index], room), row_seed))
    if not prompts:
        return
    longest = max(len(prompt.ids) + prompt.limit for prompt in prompts)
    rows = batch_size or rows_that_fit(local.model, longest)
    read, opened = texts_of(local.tokenizer), thoughts.opened(local.tokenizer.decode(prompts[0].ids[-48:]))
    for answers in decoding.decode(local.model, prompts, local.stop_ids, batch_size=rows, temperature=how.temperature):
        for done, text in zip(answers, read([a.ids for a in answers]), strict=True):
            # a thought that the prompt has opened and that never ends must not be taken for an answer
            text = opened + text if opened and thoughts.split(opened + text).open else text
            finish = "stop" if done.stopped else "length"
            yield done.index, Completion(text, len(ids[done.index]), done.generated, finish)


def texts_of(tokenizer: Any) -> Callable[[list[list[int]]], list[str]]:
    """Reads answers without special tokens. Marks of thoughts stay: nothing else tells a thought from the answer."""
    special = {i: token.content for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    left_out = {i for i, content in special.items() if not thoughts.is_mark(content)}
    if len(left_out) == len(special):
        return partial(tokenizer.batch_decode, skip_special_tokens=True)
    return lambda answers: tokenizer.batch_decode([[i for i in ids if i not in left_out] for ids in answers])


def log_probabilities(model: Any, ids: Any) -> Any:
    """Natural log-probabilities of the token after each of ``ids``: tokens x vocabulary, float32 on the CPU."""
    import torch

    with torch.no_grad():
        given = torch.as_tensor(ids)[None].to(model.device)
        return model(input_ids=given).logits[0].float().log_softmax(-1).cpu()


def rows_that_fit(model: Any, columns: int) -> int:
    """Rows of ``columns`` tokens whose key-value cache and logits fit into a share of the free memory."""
    config = model.config.get_text_config()
    width = next(model.parameters()).element_size()
    hidden, layers = count(config, "hidden_size", "d_model"), count(config, "num_hidden_layers", "n_layer")
    heads = count(config, "num_attention_heads", "n_head")
    # A model without heads keeps states; they are smaller than the keys and values that are reckoned here.
    kept = (count(config, "num_key_value_heads") or heads) * (count(config, "head_dim") or hidden // max(heads, 1))
    cache = 2 * layers * (kept or hidden) * columns * width
    passing = columns * (hidden * 12 * width) + config.vocab_size * 12
    most = MAX_ROWS_CPU if model.device.type == "cpu" else MAX_ROWS_GPU
    return max(1, min(most, int(MEMORY_SHARE * _free_memory(model.device) / (cache + passing))))


def count(config: Any, *names: str) -> int:
    """The first of these numbers that a config has; the largest if its layers differ in it; 0 if it has none."""
    layers = config.per_layer_config if getattr(config, "is_heterogeneous", False) else [config]
    for name in names:
        given = [getattr(layer, name, None) or 0 for layer in layers]
        if most := max(max(value) if isinstance(value, list | tuple) else int(value) for value in given):
            return most
    return 0


def _free_memory(device: Any) -> int:
    import torch

    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return int(min(free, _gpu_share() * total))
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")


def _on_gpu(name: str, model: Any) -> Any:
    import torch

    from laif_helpers.models.decoding import out_of_memory

    try:
        return model.to("cuda")
    except RuntimeError as error:
        out_of_memory(error)
        free, total = (amount / 2**30 for amount in torch.cuda.mem_get_info())
        raise MemoryError(
            f"model {name!r} does not fit into the GPU's memory: {free:.1f} of {total:.1f} GiB are free, and this "
            f"stage may take {_gpu_share() * total:.1f}; end other programs (nvidia-smi), or set fewer workers"
        ) from None


def _gpu_share() -> float:
    return float(os.environ.get(launch.GPU_SHARE, "1"))
