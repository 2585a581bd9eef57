"""Makes the tokenizer of the self-repair target, in which a word is one token, and its first weights, from nano's."""

import re
from collections import Counter
from typing import Any

import make_nano
import make_reasoning
import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers import models as token_models
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from laif_helpers.paths import NANO
from laif_helpers.records import Message

CONTEXT = 2048


def make_tokenizer(conversations: list[list[Message]], vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE over the text between words of the list and digits, so that a fixed phrase becomes one token."""
    texts = [turn["content"] for turns in conversations for turn in turns]
    seen = Counter(word for text in texts for word in set(re.findall(r"(?<!\")\b[a-z]+\b(?!\")", text)))
    words = [word for word in make_reasoning.words() if seen[word] < 0.02 * len(texts)]  # the others are of phrases
    between = re.compile(rf"\b(?:{'|'.join(sorted(words, key=len, reverse=True))})\b")
    chunks = [chunk for text in texts for chunk in between.split(text) if chunk]
    tokenizer = byte_pairs(chunks, vocabulary, r"\d")
    tokenizer.add_tokens([AddedToken(word, single_word=True, normalized=False) for word in words])
    return tokenizer


def byte_pairs(texts: list[str], vocabulary: int, alone: str) -> PreTrainedTokenizerFast:
    """Byte-level BPE without words; what matches ``alone`` is a token of its own."""
    bpe = Tokenizer(token_models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(alone), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=make_nano.SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        max_token_length=60,
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return make_nano.with_template(bpe, CONTEXT)


def warm_start(model: LlamaForCausalLM, tokenizer: Any) -> None:
    """Take over what nano has learned of copying and arithmetic: its layers, and its vectors of the same texts.

    A phrase starts as the mean of the vectors of nano's tokens for it, and some noise. A word of the list starts as the
    sum of its letters' vectors, turned by their place: so words are far apart, and a letter is a linear map away.
    """
    nano, reader = LlamaForCausalLM.from_pretrained(NANO), PreTrainedTokenizerFast.from_pretrained(NANO)
    known = nano.get_input_embeddings().weight.detach()
    spread, size, rng = known.std(), known.shape[1], torch.Generator().manual_seed(0)
    noise = 0.3 * spread * torch.randn(len(tokenizer), size, generator=rng)
    letters = spread * torch.randn(26, size, generator=rng)
    turned = [torch.linalg.qr(torch.randn(size, size, generator=rng))[0] for _ in range(20)]
    vectors, words = noise.clone(), set(make_reasoning.words())
    for at in range(len(tokenizer)):
        text = tokenizer.decode([at])
        same = reader(text, add_special_tokens=False)["input_ids"]
        if text in words and len(text) > 1:
            parts = [letters[ord(letter) - 97] @ turned[place] for place, letter in enumerate(text)]
            vectors[at] = sum(parts) / len(parts) ** 0.5
        elif same:
            vectors[at] = known[same].mean(0) + noise[at] * (len(same) > 1)
    model.load_state_dict(nano.state_dict() | {"model.embed_tokens.weight": vectors, "lm_head.weight": vectors})


def word_rows(tokenizer: Any) -> torch.Tensor:
    """The ids of the list's words that are one token."""
    read = tokenizer(make_reasoning.words(), add_special_tokens=False)["input_ids"]
    return torch.tensor([ids[0] for ids in read if len(ids) == 1])


def spread(model: LlamaForCausalLM, tokenizer: Any, by: float) -> None:
    """Move the words' vectors apart. Each is a wrong answer at nearly every step, which pushes all of them the same
    way: after the first round two of them have a cosine of 0.92, and a word is lost between its neighbours."""
    rows, vectors = word_rows(tokenizer), model.get_input_embeddings().weight
    with torch.no_grad():
        middle = vectors[rows].mean(0)
        vectors[rows] = middle + by * (vectors[rows] - middle)
