"""Texts to lists of word numbers."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .._errors import short

__all__ = ["Tokenizer", "hashing_trick", "one_hot", "text_to_word_sequence", "tokenizer_from_json"]

_FILTERS = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'


def text_to_word_sequence(input_text: str, filters: str = _FILTERS, lower: bool = True, split: str = " ") -> list[str]:
    """The words of a text.

    Parameters
    ----------
    input_text : str
    filters : str
        Characters that count as `split`.
    lower : bool
    split : str
        What stands between words.
    """
    text = input_text.lower() if lower else input_text
    return [w for w in text.translate({ord(c): split for c in filters}).split(split) if w]


def hashing_trick(
    text: str,
    n: int,
    hash_function: str | Callable[[str], int] | None = None,
    filters: str = _FILTERS,
    lower: bool = True,
    split: str = " ",
    analyzer: Callable[[str], list[str]] | None = None,
) -> list[int]:
    """The words of a text as numbers from 1 to n - 1, by a hash: "md5" (the default, the same everywhere), "hash"
    (Python's) or a function."""
    import hashlib

    if hash_function in (None, "md5"):
        number: Any = lambda w: int(hashlib.md5(w.encode(), usedforsecurity=False).hexdigest(), 16)  # noqa: E731
    elif hash_function == "hash":
        number = hash
    elif callable(hash_function):
        number = hash_function
    else:
        raise ValueError(
            f"hashing_trick: hash_function: expected 'md5', 'hash' or a function, got {short(hash_function)}"
        )
    words = analyzer(text) if analyzer is not None else text_to_word_sequence(text, filters, lower, split)
    return [number(w) % (n - 1) + 1 for w in words]


def one_hot(
    input_text: str,
    n: int,
    filters: str = _FILTERS,
    lower: bool = True,
    split: str = " ",
    analyzer: Callable[[str], list[str]] | None = None,
) -> list[int]:
    """The words of a text as numbers from 1 to n - 1."""
    return hashing_trick(input_text, n, None, filters, lower, split, analyzer)


class Tokenizer:
    """Numbers for words: 1 for the most frequent one, and so on; 0 is left for padding.

    Parameters
    ----------
    num_words : int, optional
        Words with numbers from this on are left out.
    filters : str
        Characters that are no part of words.
    lower : bool
    split : str
        What stands between words.
    char_level : bool
        Whether characters take the place of words.
    oov_token : str, optional
        Gets number 1, and stands for words that are not known.
    analyzer : callable, optional
        Makes the list of words of a text, in place of `filters`, `lower` and `split`.

    Attributes
    ----------
    word_counts, word_docs, word_index, index_word : dict
    document_count : int
    """

    def __init__(
        self,
        num_words: int | None = None,
        filters: str = _FILTERS,
        lower: bool = True,
        split: str = " ",
        char_level: bool = False,
        oov_token: str | None = None,
        analyzer: Callable[[str], list[str]] | None = None,
    ) -> None:
        self.num_words, self.filters, self.lower, self.split = num_words, filters, lower, split
        self.char_level, self.oov_token, self.analyzer = char_level, oov_token, analyzer
        self.word_counts: Counter[str] = Counter()
        self.word_docs: Counter[str] = Counter()
        self.index_docs: dict[int, int] = {}
        self.word_index: dict[str, int] = {}
        self.index_word: dict[int, str] = {}
        self.document_count = 0

    def _words(self, text: Any) -> list[str]:
        if isinstance(text, (list, tuple)):
            return [str(w).lower() if self.lower else str(w) for w in text]
        if self.char_level:
            return list(text.lower() if self.lower else text)
        if self.analyzer is not None:
            return self.analyzer(text)
        return text_to_word_sequence(text, self.filters, self.lower, self.split)

    def fit_on_texts(self, texts: Iterable[Any]) -> None:
        """Count the words of texts, and number them."""
        for text in texts:
            words = self._words(text)
            self.document_count += 1
            self.word_counts.update(words)
            self.word_docs.update(set(words))
        ordered = [w for w, _ in self.word_counts.most_common()]
        if self.oov_token is not None:
            ordered = [self.oov_token, *(w for w in ordered if w != self.oov_token)]
        self.word_index = {w: i for i, w in enumerate(ordered, 1)}
        self.index_word = {i: w for w, i in self.word_index.items()}
        self.index_docs = {self.word_index[w]: n for w, n in self.word_docs.items()}

    def fit_on_sequences(self, sequences: Iterable[Iterable[int]]) -> None:
        """Count in how many sequences numbers stand, for `sequences_to_matrix`."""
        counts: Counter[int] = Counter(self.index_docs)
        for sequence in sequences:
            self.document_count += 1
            counts.update(set(sequence))
        self.index_docs = dict(counts)

    def texts_to_sequences(self, texts: Iterable[Any]) -> list[list[int]]:
        """The numbers of the words of texts."""
        most = self.num_words or len(self.word_index) + 1
        unknown = self.word_index.get(self.oov_token) if self.oov_token is not None else None
        found = []
        for text in texts:
            numbers = (self.word_index.get(w) for w in self._words(text))
            known = (n if n is not None and n < most else unknown for n in numbers)
            found.append([n for n in known if n is not None])
        return found

    def sequences_to_texts(self, sequences: Iterable[Iterable[int]]) -> list[str]:
        """The words of numbers, with blanks between them."""
        most = self.num_words or len(self.index_word) + 1

        def word(n: int) -> str | None:
            return self.index_word.get(n, self.oov_token) if n < most else self.oov_token

        found = ([word(int(n)) for n in sequence] for sequence in sequences)
        return [" ".join(w for w in words if w is not None) for words in found]

    def texts_to_matrix(self, texts: Iterable[Any], mode: str = "binary") -> np.ndarray:
        """One row of numbers of words a text; see `sequences_to_matrix`."""
        return self.sequences_to_matrix(self.texts_to_sequences(texts), mode)

    def sequences_to_matrix(self, sequences: list[list[int]], mode: str = "binary") -> np.ndarray:
        """Column n of a row is about word n: whether it is there ("binary"), how often ("count"), how often in shares
        of the text ("freq"), or (1 + log(count)) * log(1 + documents / (1 + documents with it)) ("tfidf")."""
        if mode not in ("binary", "count", "freq", "tfidf"):
            raise ValueError(
                f"sequences_to_matrix: mode: expected 'binary', 'count', 'freq' or 'tfidf', got {short(mode)}"
            )
        if not self.num_words and not self.word_index:
            raise ValueError("sequences_to_matrix: num_words: expected a number, or a call of fit_on_texts before")
        if mode == "tfidf" and not self.document_count:
            raise ValueError("sequences_to_matrix: mode: 'tfidf' needs fit_on_texts or fit_on_sequences before")
        columns = self.num_words or len(self.word_index) + 1
        matrix = np.zeros((len(sequences), columns))
        for row, sequence in zip(matrix, sequences, strict=True):
            for n, count in Counter(n for n in sequence if n < columns).items():
                if mode == "binary":
                    row[n] = 1
                elif mode == "count":
                    row[n] = count
                elif mode == "freq":
                    row[n] = count / len(sequence)
                else:
                    row[n] = (1 + np.log(count)) * np.log(1 + self.document_count / (1 + self.index_docs.get(n, 0)))
        return matrix

    def get_config(self) -> dict[str, Any]:
        """The arguments, and what has been counted."""
        if self.analyzer is not None:
            raise NotImplementedError("Tokenizer: get_config: expected no analyzer, got a function, which is not saved")
        names = ("num_words", "filters", "lower", "split", "char_level", "oov_token", "document_count")
        return {
            **{n: getattr(self, n) for n in names},
            "word_counts": dict(self.word_counts),
            "word_docs": dict(self.word_docs),
            "word_index": self.word_index,
        }

    def to_json(self, **kwargs: Any) -> str:
        """`get_config` as a string that `tokenizer_from_json` reads."""
        return json.dumps({"class_name": "Tokenizer", "config": self.get_config()}, **kwargs)


def tokenizer_from_json(json_string: str) -> Tokenizer:
    """What `Tokenizer.to_json` wrote."""
    config = json.loads(json_string)["config"]
    counted: dict[str, Any] = defaultdict(dict)
    for name in ("word_counts", "word_docs", "word_index", "document_count"):
        counted[name] = config.pop(name)
    made = Tokenizer(**config)
    made.word_counts, made.word_docs = Counter(counted["word_counts"]), Counter(counted["word_docs"])
    made.word_index, made.document_count = counted["word_index"], counted["document_count"]
    made.index_word = {i: w for w, i in made.word_index.items()}
    made.index_docs = {made.word_index[w]: n for w, n in made.word_docs.items() if w in made.word_index}
    return made
