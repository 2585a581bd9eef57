"""A GGUF file becomes a plain folder with the same values, and is refused with a sentence if it cannot."""

import importlib
import math
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from laif_helpers import models, recipe
from laif_helpers.models import check, gguf
from laif_helpers.paths import NANO, ROOT

pytest.importorskip("gguf", reason="the package gguf is not installed")


def write_gguf(path: Path, architecture: str = "llama", pre: str = "default", parts: int = 1) -> dict[str, Any]:
    """nano as llama.cpp's converter would write it, in float32; returns its state."""
    return llamacpp().write_gguf(NANO, path, architecture, pre, parts)


def llamacpp() -> Any:
    """``data/llamacpp.py``, which is a script and no package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "data"))
        return importlib.import_module("llamacpp")


@pytest.mark.model
def test_the_folder_holds_the_same_model(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    state = write_gguf(tmp_path / "nano.gguf")
    folder = gguf.to_folder(tmp_path / "nano.gguf", tmp_path / "made", origin="a test")
    converted = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    assert converted.keys() == state.keys()
    assert all(torch.equal(converted[name], state[name]) for name in state)
    asked = [[{"role": "user", "content": "Mia has 3 pairs of eggs. How many eggs does Mia have?"}]]
    (ours,), (its,) = (models.generate(str(place), asked, progress=False) for place in (folder, NANO))
    assert (ours.text, ours.prompt_tokens) == (its.text, its.prompt_tokens)
    card = (folder / "README.md").read_text()
    assert "nano.gguf" in card and "a test" in card and "ALL_F32" in card and "apache-2.0" in card
    assert [f.name for f in tmp_path.iterdir() if f.name.endswith(".partial")] == []


@pytest.mark.model
def test_a_gguf_file_is_a_target_and_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf, "ROOT", tmp_path / "root")
    write_gguf(file := tmp_path / "nano.gguf")
    asked = [[{"role": "user", "content": f"Mia has {n} pairs of eggs. How many eggs?"}] for n in range(5)]
    expected = models.generate(str(NANO), asked, max_new_tokens=20, progress=False)
    for _ in range(2):
        found = models.generate(str(file), asked, max_new_tokens=20, progress=False)
        assert [c.text for c in found] == [c.text for c in expected]
        monkeypatch.setattr(gguf, "to_folder", lambda *_: pytest.fail("written a second time"))
    p = recipe.build(recipe.StageParameters, {"run": "r", "target": str(file)})
    assert p.model == p.base_model == str(gguf.folder_of(str(file))), "what is trained is the plain folder"


def llama3_factors(theta: float, width: int, factor: float, early: float) -> list[float]:
    """As llama.cpp's converter reckons them; ``early``: of the wave length at which they begin."""
    waves = [2 * math.pi * theta ** (2 * at / width) for at in range(width // 2)]
    shares = [min(1.0, max(0.0, (8192 / wave - 1) / (early - 1))) for wave in waves]
    return [1 / ((1 - share) / factor + share) for share in shares]


SCALED: dict[str, dict[str, Any]] = {
    "linear": {"rope_type": "linear", "factor": 4.0},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128},
    "llama3": {"rope_type": "llama3", "factor": 32.0} | gguf.LLAMA3,
    "longrope": {
        "rope_type": "longrope", "factor": 8.0, "original_max_position_embeddings": 64,
        "short_factor": [1.0, 1.5] * 8, "long_factor": [2.0, 4.0] * 8,
    },
}  # fmt: skip


@pytest.mark.model
@pytest.mark.parametrize("kind", SCALED)
def test_scaled_angles_of_a_file_are_read(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers drops them: with random weights 0 of 10 texts were those of the model, and llama.cpp's were."""
    import numpy as np
    import torch
    from gguf import RopeScalingType
    from transformers import AutoConfig, AutoModelForCausalLM

    config, sizes = AutoConfig.from_pretrained(NANO), (maker := llamacpp())._write_sizes
    scaled = SCALED[kind] | {"rope_theta": config.rope_parameters["rope_theta"]}
    width = config.head_dim

    def scaling(writer: Any, *about: Any) -> None:
        sizes(writer, *about)
        if "original_max_position_embeddings" in scaled and kind != "llama3":
            writer.add_rope_scaling_orig_ctx_len(scaled["original_max_position_embeddings"])
        if kind == "llama3":
            factors = llama3_factors(scaled["rope_theta"], width, 32.0, 4.0)
            writer.add_tensor("rope_freqs.weight", np.array(factors, np.float32))
        elif kind == "longrope":
            for name in ("short", "long"):
                writer.add_tensor(f"rope_factors_{name}.weight", np.array(scaled[f"{name}_factor"], np.float32))
        else:
            writer.add_rope_scaling_type(RopeScalingType(kind))
            writer.add_rope_scaling_factor(4.0)

    monkeypatch.setattr(maker, "_write_sizes", scaling)
    write_gguf(tmp_path / "nano.gguf")
    config.rope_parameters = scaled
    config.original_max_position_embeddings = scaled.get("original_max_position_embeddings")
    ids = torch.arange(5, 205)[None] % 300
    of_file = AutoModelForCausalLM.from_pretrained(gguf.to_folder(tmp_path / "nano.gguf", tmp_path / "made"))
    with torch.no_grad():
        own, plain = (
            AutoModelForCausalLM.from_pretrained(NANO, **more)(ids).logits for more in ({"config": config}, {})
        )
        assert torch.allclose(of_file(ids).logits, own, atol=1e-4) and not torch.allclose(own, plain, atol=1e-2)


@pytest.mark.model
def test_angles_that_have_no_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np
    from transformers import AutoConfig

    config, sizes = AutoConfig.from_pretrained(NANO), (maker := llamacpp())._write_sizes
    factors = llama3_factors(config.rope_parameters["rope_theta"], config.head_dim, 32.0, 2.0)

    def scaling(writer: Any, *about: Any) -> None:
        sizes(writer, *about)
        writer.add_tensor("rope_freqs.weight", np.array(factors, np.float32))

    monkeypatch.setattr(maker, "_write_sizes", scaling)
    write_gguf(tmp_path / "nano.gguf")
    with pytest.raises(ValueError, match=r"scales its angles in a way .llama3. that transformers cannot be told; use"):
        gguf.to_folder(tmp_path / "nano.gguf", tmp_path / "made")


@pytest.mark.parametrize(
    ("pre", "pieces"),
    [
        ("smollm", "it 's Ġ 1 2 3 4 5 ... Ċ"),
        ("starcoder", "it 's Ġ 1 2 3 4 5 ... Ċ"),
        ("stablelm2", "it 's Ġ 1 2 3 4 5 ...Ċ"),
        ("deepseek-coder", "it ' s Ġ 1 2 3 4 5 ... Ċ"),
        ("falcon", "it ' s Ġ 123 45 ... Ċ"),
        ("gpt-2", "it 's Ġ12345 ... Ċ"),
        ("llama-bpe", "it 's Ġ 123 45 ...Ċ"),
    ],
)
def test_texts_are_split_as_llama_cpp_splits_them(pre: str, pieces: str, tmp_path: Path) -> None:
    """Compared with its own tokens on 2026-11-28; transformers took GPT-2's way for the first five: other tokens."""
    from transformers import AutoTokenizer

    write_gguf(tmp_path / "nano.gguf", pre=pre)
    made = AutoTokenizer.from_pretrained(gguf.to_folder(tmp_path / "nano.gguf", tmp_path / "made"))
    found = made.backend_tokenizer.pre_tokenizer.pre_tokenize_str("it's 12345...\n")
    assert [piece for piece, _ in found] == pieces.split()


@pytest.mark.parametrize(
    ("spaced", "pieces"), [(None, "<s> ▁[ a </s> ▁a ▁a"), (True, "<s> ▁[ a </s> ▁a ▁a"), (False, "<s> [ a </s> a ▁a")]
)
def test_a_space_goes_before_what_follows_a_mark(
    spaced: bool | None, pieces: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compared with llama.cpp's tokens of Mistral's own vocabulary on 2026-11-28: before, no prompt was equal."""
    from transformers import AutoTokenizer

    def sentencepiece(writer: Any, tokenizer: Any, pre: str) -> None:
        marks, texts = ["<unk>", "<s>", "</s>"], ["▁", "[", "a", "▁[", "▁a"]
        tokens = [*marks, *(f"<0x{byte:02X}>" for byte in range(256)), *texts]
        writer.add_tokenizer_model("llama")
        writer.add_token_list(tokens)
        writer.add_token_scores([-float(at) for at in range(len(tokens))])
        writer.add_token_types([2, 3, 3, *[6] * 256, *[1] * len(texts)])
        writer.add_eos_token_id(2)
        if spaced is not None:
            writer.add_add_space_prefix(spaced)
        writer.add_chat_template("x")

    monkeypatch.setattr(llamacpp(), "_write_tokenizer", sentencepiece)
    write_gguf(tmp_path / "nano.gguf")
    made = AutoTokenizer.from_pretrained(gguf.to_folder(tmp_path / "nano.gguf", tmp_path / "made"))
    found = made("<s>[a</s>a a", add_special_tokens=False)["input_ids"]
    assert made.convert_ids_to_tokens(found) == pieces.split()


def test_a_way_to_split_texts_that_nobody_here_knows_is_refused(tmp_path: Path) -> None:
    write_gguf(file := tmp_path / "nano.gguf", pre="superbpe")
    with pytest.raises(ValueError, match=r"splits its texts in a way .superbpe. that .* would give other tokens; use"):
        gguf.to_folder(file, tmp_path / "made")
    assert "splits its texts in a way (superbpe)" in " ".join(check.problems(str(file))), "before anything runs"


def test_marks_of_a_gguf_file_stay_marks(tmp_path: Path) -> None:
    """A turn's end that is no text's end must stop an answer and never stand in one."""
    from transformers import AutoTokenizer

    write_gguf(tmp_path / "nano.gguf")
    converted = AutoTokenizer.from_pretrained(gguf.to_folder(tmp_path / "nano.gguf", tmp_path / "made"))
    nano = AutoTokenizer.from_pretrained(NANO)
    assert len(nano.all_special_ids) > 2 and set(converted.all_special_ids) == set(nano.all_special_ids)


@pytest.mark.model
def test_what_a_file_asks_llama_cpp_to_draw_with_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """llama.cpp follows it for every request: with a penalty of 1.8 seven of ten texts were those of this machine."""
    write_gguf(file := tmp_path / "nano.gguf")
    assert check.notes(str(file)) == []
    sizes = (maker := llamacpp())._write_sizes

    def asking(writer: Any, *about: Any) -> None:
        sizes(writer, *about)
        writer.add_float32("general.sampling.penalty_repeat", 1.5)
        writer.add_int32("general.sampling.top_k", 3)
        writer.add_float32("general.sampling.temp", 0.7)

    monkeypatch.setattr(maker, "_write_sizes", asking)
    maker.write_gguf(NANO, file)
    assert "asks for penalty_repeat 1.5, top_k 3: answers here are" in check.notes(str(file))[0]


def test_one_part_of_several_is_told_how_to_join_them(tmp_path: Path) -> None:
    write_gguf(tmp_path / "part.gguf", parts=3)
    with pytest.raises(ValueError, match="one of 3 parts; join them with llama-gguf-split --merge"):
        gguf.to_folder(tmp_path / "part.gguf", tmp_path / "made")


def test_smollm_digits_are_split_off_first(tmp_path: Path) -> None:
    """Two line breaks before a digit stay one piece, as in the tokenizer that the model was trained with."""
    from transformers import AutoTokenizer

    for pre, pieces in (("smollm", ["ĊĊ", "5"]), ("default", ["Ċ", "Ċ", "5"])):
        write_gguf(tmp_path / f"{pre}.gguf", pre=pre)
        folder = gguf.to_folder(tmp_path / f"{pre}.gguf", tmp_path / pre)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        found = tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("\n\n5")
        assert [piece for piece, _ in found] == pieces


def test_what_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    write_gguf(tmp_path / "other.gguf", architecture="whisper")
    (tmp_path / "broken.gguf").write_bytes(b"no such thing at all")
    for name, found in (("other", "architecture 'whisper'"), ("broken", "not a readable GGUF"), ("absent", "no such")):
        with pytest.raises(ValueError, match=found):
            gguf.to_folder(tmp_path / f"{name}.gguf", tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_a_full_disk_is_told_before_anything_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_gguf(tmp_path / "nano.gguf")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(4 << 20, 3 << 20, 1 << 20))
    monkeypatch.setattr(gguf, "_load", lambda *_: pytest.fail("weights were loaded"))
    with pytest.raises(ValueError, match=r"needs 4 MB for 9\d\d,\d+ weights and its disk has 1 MB free"):
        gguf.to_folder(tmp_path / "nano.gguf", tmp_path / "made")
