"""Checks whether a local model can be a target, from its config, tokenizer and the headers of its weights.

``laif doctor`` and loading ask the same questions; each finding is a sentence with the fix. Nothing heavy is loaded.
"""

import math
import re
from typing import Any

from laif_helpers import records, target
from laif_helpers.models import adapters, gguf, weight_files
from laif_helpers.paths import resolve
from laif_helpers.target import Target

PROBE = "How many qzvx are 7 and 5?"
GENERATION = "generation_config.json"
UNTRAINED = (
    "models of type {} can answer and cannot be trained: TRL takes their head for one product of matrices, which it is "
    "not; choose another target"
)
_IDLE: tuple[Any, ...] = (None, False, 0, 1, [], {})
_STEERS = re.compile(
    r"penalty|ngram|bad_words|suppress|forced|^min_|^top_|typical|cutoff|bias|guidance|beams|stop_str|xtc_p|mirostat$"
)


def problems(name: str, taught: bool = False) -> list[str]:
    """Sentences about what keeps ``name`` (a folder, a GGUF file or a hub name) from answering, or, if it is to be
    ``taught``, from learning; [] if nothing does."""
    from transformers import AutoConfig

    folder, kind = target.place(name), Target.of(name).kind
    try:
        if kind == "gguf":
            gguf.splits(gguf.read_header(folder))
            return []
        whole = kind != "hub" or (folder.is_dir() and target.offline())  # else what is missing is fetched
        if found := [*(weight_files.unreadable(folder) if whole else ())] or [*adapters.problems(folder)]:
            return found
        path = source(name)
        base = adapters.adapter_base(folder) or path
        if base != path and (away := target.unreachable(base, "the adapter's base")):
            return [away]
        config = AutoConfig.from_pretrained(base, trust_remote_code=False)  # else it asks whoever sits there
        tokenizer = tokenizer_of(name)
    except Exception as error:  # other people's configs and tokenizers raise anything
        words = " ".join(str(error).split())[:400]
        if (folder / "tokenizer.model").is_file() and not (folder / "tokenizer.json").is_file():
            words += " (its tokenizer.model alone needs `pip install sentencepiece tiktoken protobuf`)"
        return [f"model {name!r} cannot be read: {words}; what transformers alone cannot read can be served (serve:)"]
    rows = adapters.embedded_rows(folder) or config.get_text_config().vocab_size
    told = (
        architecture(name, config),
        quantised(name, config),
        template(name, tokenizer),
        fits(name, tokenizer, rows),
        ends(name, tokenizer),
        learnable(name, tokenizer) if taught else "",
        headed(config) if taught else "",
    )
    return [sentence for sentence in told if sentence]


def notes(name: str) -> list[str]:
    """Sentences about what a model's files ask for and prompts and answers here do not follow."""
    here, other = "here and by serve:", "a server that you started"
    if Target.of(name).kind == "gguf":  # read by llama.cpp as it is: nobody can take it out for serve:
        here, other, header = "here", "llama.cpp", gguf.read_header(target.place(name))
        found, template = steered(header.sampling), header.template
    else:
        found = steered(records.read_state(target.part(adapters.base_of(name), GENERATION)))
        template = str(tokenizer_of(name).chat_template)
    asked = ", ".join(f"{setting} {value}" for setting, value in found.items())[:200]
    told = {
        f"the model asks for {asked}: answers {here} are the plain argmax, or drawn at the recipe's temperature alone; "
        f"{other} follows it": found,
        f"the chat template writes today's date: {here} it is 26 July 2024 on every day, in a checkpoint too; {other} "
        "writes today's": "strftime_now(" in template,
    }
    return [sentence for sentence, true in told.items() if true]


def steered(asked: dict[str, Any]) -> dict[str, Any]:
    """Those settings of a generation config that would change which token an answer takes."""
    return {name: value for name, value in asked.items() if _STEERS.search(name) and value not in _IDLE}


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


def source(name: str) -> str:
    """What transformers is to load: a model's folder, or a hub's name, so that it fetches what its cache lacks."""
    folder = target.place(name)
    return str(folder) if folder.is_dir() and Target.of(name).kind != "hub" else name


def tokenizer_of(name: str) -> Any:
    """A model's tokenizer; a LoRA adapter that was saved without one has its base's."""
    from transformers import AutoTokenizer

    folder = target.place(name)
    bare = folder.is_dir() and not [*folder.glob("tokenizer*")]
    own = adapters.base_of(name) if bare else source(name)
    tokenizer = AutoTokenizer.from_pretrained(own, trust_remote_code=False)
    if not tokenizer.chat_template:  # older processors of images and text keep it in a file of their own
        tokenizer.chat_template = records.read_state(target.part(name, "chat_template.json")).get("chat_template")
    return tokenizer


def weights(name: str) -> int:
    """Numbers in a folder's safetensors files (of an adapter, its base's too); 0 if they are not on this machine."""
    folder = Target.of(name).path or resolve(name)
    if not folder.is_dir():
        return 0
    # not consolidated.safetensors, which holds the same weights again
    headers = (weight_files.read_header(file)[0] or {} for file in folder.glob("*model*.safetensors"))
    shapes = [part["shape"] for header in headers for tensor, part in header.items() if tensor != "__metadata__"]
    base = adapters.adapter_base(folder)
    return sum(math.prod(shape) for shape in shapes) + (weights(base) if base else 0)


def architecture(name: str, config: Any) -> str:
    """A sentence if it is no causal language model of the installed transformers."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    made = next(iter(config.architectures or []), "")
    other = re.search("Classification|QuestionAnswering|Reward|MaskedLM|(?<!LMHead)Model$", made)
    if other or target.part(name, "modules.json").is_file():  # sentence-transformers'
        # its head would be left out, or one be taken from a tied embedding, without a word
        return f"model {name!r} is a {made}, which scores, fills or embeds texts and writes none; choose a chat model"
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


def headed(config: Any) -> str:
    """A sentence if the head of such a model has weights of its own beside one product of matrices, as BERT's has."""
    import torch
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except Exception:  # what cannot be made is told in its own words where it is loaded
        return ""
    body = model.model if model.base_model is model and hasattr(model, "model") else model.base_model
    known = {id(weight) for part in (body, model.get_output_embeddings()) for weight in (part or body).parameters()}
    own = [name for name, weight in model.named_parameters() if id(weight) not in known and weight.ndim > 1]
    return UNTRAINED.format(config.get_text_config().model_type) if own else ""


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

    wrong = problems(sys.argv[1], taught=True)
    for line in wrong or notes(sys.argv[1]):  # what cannot be read has nothing to note
        print(f"{'problem' if wrong else 'note'}: {line}")
