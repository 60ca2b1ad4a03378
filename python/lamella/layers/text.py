"""Words and numbers to places in a vocabulary. These layers take strings, and so stand before a model, not in it."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from .._errors import refuse, short
from ..autograd import Tensor, as_array, wrap
from ._arguments import positive
from .base import Layer

__all__ = ["IntegerLookup", "StringLookup", "TextVectorization"]

_MODES = ("int", "one_hot", "multi_hot", "count", "tf_idf")
_PUNCTUATION = re.compile(r"[!\"#$%&()*+,\-./:;<=>?@\[\\\]^_`{|}~']")


def _output_mode(value: Any, what: str) -> str:
    value = {"binary": "multi_hot", "tf-idf": "tf_idf"}.get(value, value)
    if value not in _MODES:
        raise ValueError(f"{what}: output_mode: expected one of {', '.join(_MODES)}, got {short(value)}")
    return str(value)


def _text(value: Any, encoding: str, what: str) -> str:
    if isinstance(value, (bytes, np.bytes_)):
        return value.decode(encoding)
    if not isinstance(value, str):
        raise TypeError(f"{what}: expected strings, got {type(value).__name__}")
    return str(value)


class _Lookup(Layer):
    """A table of tokens: first a place for padding if there is a mask token and the output is places, then those of
    unknown tokens, then the known ones by falling frequency."""

    _dtype_name: str

    def __init__(
        self,
        max_tokens: int | None,
        num_oov_indices: int,
        mask_token: Any,
        oov_token: Any,
        vocabulary: Any,
        idf_weights: Any,
        invert: bool,
        output_mode: str,
        pad_to_max_tokens: bool,
        sparse: bool,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        what = type(self).__name__
        self.max_tokens = None if max_tokens is None else positive(max_tokens, f"{what}: max_tokens")
        if self.max_tokens == 1:
            raise ValueError(f"{what}: max_tokens: expected at least 2, got 1")
        if not hasattr(num_oov_indices, "__index__") or num_oov_indices < 0:
            raise ValueError(f"{what}: num_oov_indices: expected an integer >= 0, got {short(num_oov_indices)}")
        self.output_mode = _output_mode(output_mode, what)
        if invert and self.output_mode != "int":
            raise ValueError(f"{what}: output_mode: expected 'int' with invert, got {short(output_mode)}")
        refuse(what, False, sparse=sparse)
        if pad_to_max_tokens and max_tokens is None:
            raise ValueError(f"{what}: max_tokens: expected a number with pad_to_max_tokens, got None")
        if idf_weights is not None and self.output_mode != "tf_idf":
            raise ValueError(f"{what}: idf_weights: expected none where output_mode is not 'tf_idf'")
        self.num_oov_indices, self.mask_token, self.oov_token = int(num_oov_indices), mask_token, oov_token
        self.invert, self.pad_to_max_tokens = bool(invert), bool(pad_to_max_tokens)
        self._given = vocabulary is not None
        self.built = True
        self.reset_state()
        self._tokens: list[Any] = []
        self._places: dict[Any, int] = {}
        self._idf: np.ndarray | None = None
        if vocabulary is not None:
            self.set_vocabulary(vocabulary, idf_weights)

    # -- tokens --

    def _token(self, value: Any) -> Any:
        """A value as the table knows it."""
        raise NotImplementedError

    def _oov(self, token: Any) -> int:
        """Which of the places of unknown tokens this one has."""
        raise NotImplementedError

    @property
    def _first(self) -> int:
        """The place of the first known token."""
        return self._first_oov + self.num_oov_indices

    @property
    def _first_oov(self) -> int:
        return 1 if self.mask_token is not None and self.output_mode == "int" else 0

    def _specials(self) -> list[Any]:
        return [self.mask_token] * self._first_oov + [self.oov_token] * self.num_oov_indices

    # -- the vocabulary --

    def reset_state(self) -> None:
        """Forget what has been counted."""
        self._counts: Counter[Any] = Counter()
        self._documents: Counter[Any] = Counter()
        self._document_count = 0

    def adapt(self, data: Any, batch_size: int | None = None, steps: int | None = None) -> None:
        """Make the vocabulary of data.

        Parameters
        ----------
        data : array, list, or an iterable of batches
            Of batches that are tuples, the first part counts. A row of an array is one document.
        batch_size : int, optional
            Accepted for Keras' sake: the vocabulary does not depend on it.
        steps : int, optional
            At most so many batches.
        """
        self.reset_state()
        for batch in _batches(data, steps):
            self.update_state(batch)
        self.finalize_state()

    def update_state(self, data: Any) -> None:
        """Count the tokens of a batch."""
        rows = _nested(data)
        if isinstance(rows, list) and (not rows or not isinstance(rows[0], list)):
            rows = [[r] for r in rows]
        self._count(rows if isinstance(rows, list) else [[rows]])

    def _count(self, rows: Iterable[Any]) -> None:
        if self._given:
            raise ValueError(f"{self.name}: adapt: the vocabulary was given when the layer was made")
        for row in rows:
            tokens = [self._token(v) for v in _leaves(row)]
            self._counts.update(tokens)
            self._documents.update(set(tokens))
            self._document_count += 1

    def finalize_state(self) -> None:
        """Make the vocabulary of what has been counted."""
        known = {t: n for t, n in self._counts.items() if t != self.mask_token and t != self.oov_token}
        tokens = sorted(
            known, reverse=True
        )  # of equally frequent ones the last in the alphabet comes first, as in Keras
        tokens.sort(key=lambda t: -known[t])
        if self.max_tokens is not None:
            tokens = tokens[: max(self.max_tokens - self._first, 0)]
        idf = None
        if self.output_mode == "tf_idf":
            documents = np.array([self._documents[t] for t in tokens], np.float64)
            idf = np.log(1 + self._document_count / (1 + documents))
        self._set(tokens, idf)

    def _set(self, tokens: list[Any], idf: np.ndarray | None) -> None:
        self._tokens = tokens
        self._places = {t: i for i, t in enumerate(tokens, self._first)}
        if idf is not None:
            front = np.full(self._first, idf.mean() if idf.size else 0.0)
            self._idf = np.concatenate([front, idf]).astype(self.compute_dtype)

    def set_vocabulary(self, vocabulary: Any, idf_weights: Any = None) -> None:
        """Take these tokens, in their order.

        Parameters
        ----------
        vocabulary : list, array, or the path of a file with one token a line
            With or without the padding and unknown tokens in front.
        idf_weights : array, optional
            One number a token, for `output_mode` "tf_idf".
        """
        what = f"{self.name}: vocabulary"
        if isinstance(vocabulary, str):
            with open(vocabulary, encoding="utf-8") as f:
                vocabulary = f.read().splitlines()
        tokens = [self._token(t) for t in _leaves(_nested(vocabulary))]
        if not tokens:
            raise ValueError(f"{what}: expected at least one token, got none")
        specials = self._specials()
        with_specials = bool(specials) and tokens[: len(specials)] == specials
        if with_specials:
            tokens = tokens[len(specials) :]
        twice = [t for t, n in Counter(tokens).items() if n > 1]
        if twice:
            raise ValueError(f"{what}: expected each token once, got {short(twice[0])} again")
        if self.mask_token is not None and self.mask_token in tokens:
            raise ValueError(
                f"{what}: expected {specials} in front or not at all, got {short(self.mask_token)} elsewhere"
            )
        if self.max_tokens is not None and self._first + len(tokens) > self.max_tokens:
            raise ValueError(f"{what}: expected at most {self.max_tokens} tokens, got {self._first + len(tokens)}")
        if (idf_weights is None) != (self.output_mode != "tf_idf"):
            raise ValueError(f"{self.name}: idf_weights: expected them with output_mode 'tf_idf', and only then")
        idf = None if idf_weights is None else np.asarray(as_array(idf_weights), np.float64)
        if idf is not None and idf.shape != (len(tokens) + len(specials) * with_specials,):
            raise ValueError(f"{self.name}: idf_weights: expected one number a token, got shape {idf.shape}")
        self._set(tokens, None if with_specials else idf)
        if idf is not None and with_specials:
            self._idf = idf.astype(self.compute_dtype)

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[Any]:
        """The tokens by their places."""
        return [*(self._specials() if include_special_tokens else []), *self._tokens]

    def vocabulary_size(self) -> int:
        """How many places there are."""
        return self._first + len(self._tokens)

    # -- calling --

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        return self.call(inputs)

    def call(self, inputs: Any) -> Any:
        nested = _nested(inputs)
        if self.invert:
            return self._tokens_of(nested)
        shape = _shape(nested, self.name)
        places = [self._place(self._token(v)) for v in _leaves(nested)]
        if self.output_mode == "int":
            return wrap(np.array(places, np.int64).reshape(shape))
        if self.output_mode == "one_hot":
            if len(shape) > 1 and shape[-1] == 1:
                shape = shape[:-1]
            return wrap(self._rows([[p] for p in places]).reshape(*shape, self._depth()))
        width = shape[-1] if shape else 1
        rows = [places[i * width : (i + 1) * width] for i in range(len(places) // width)] if width else []
        return wrap(self._rows(rows).reshape(*shape[:-1], self._depth()))

    def _place(self, token: Any) -> int:
        place = self._places.get(token)
        if place is not None:
            return place
        if self._first_oov and token == self.mask_token:
            return 0
        if self.num_oov_indices:
            return self._first_oov + self._oov(token)
        if self.output_mode == "int":
            raise ValueError(
                f"{self.name}: inputs: expected tokens of the vocabulary with num_oov_indices=0, got {short(token)}"
            )
        return -1

    def _depth(self) -> int:
        return self.max_tokens if self.pad_to_max_tokens and self.max_tokens else self.vocabulary_size()

    def _rows(self, rows: Sequence[Sequence[int]]) -> np.ndarray:
        """One row of numbers of tokens for each row of places."""
        table = np.zeros((len(rows), self._depth()), self.compute_dtype)
        for i, row in enumerate(rows):
            for place in row:
                if place >= 0:
                    table[i, place] += 1
        if self.output_mode in ("one_hot", "multi_hot"):
            return (table > 0).astype(table.dtype)
        if self.output_mode == "tf_idf":
            if self._idf is None:
                raise RuntimeError(f"{self.name}: idf_weights: call adapt or set_vocabulary first")
            table[:, : len(self._idf)] *= self._idf
        return table

    def _tokens_of(self, places: Any) -> Any:
        if isinstance(places, list):
            return [self._tokens_of(p) for p in places]
        index = int(places)
        if self._first_oov and index == 0:
            return self.mask_token
        at = index - self._first
        return self._tokens[at] if 0 <= at < len(self._tokens) else self.oov_token

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "max_tokens": self.max_tokens,
            "num_oov_indices": self.num_oov_indices,
            "mask_token": self.mask_token,
            "oov_token": self.oov_token,
            "vocabulary": self.get_vocabulary() if self._tokens else None,
            "idf_weights": None if self._idf is None else self._idf.tolist(),
            "invert": self.invert,
            "output_mode": self.output_mode,
            "pad_to_max_tokens": self.pad_to_max_tokens,
        }


def _nested(data: Any) -> Any:
    """Arrays and tensors as nested lists."""
    if isinstance(data, Tensor):
        return data.tolist()
    if isinstance(data, np.ndarray):
        return data.tolist()
    if isinstance(data, (list, tuple)):
        return [_nested(item) for item in data]
    return data


def _leaves(nested: Any) -> Iterator[Any]:
    if isinstance(nested, list):
        for item in nested:
            yield from _leaves(item)
    else:
        yield nested


def _shape(nested: Any, name: str) -> tuple[int, ...]:
    if not isinstance(nested, list):
        return ()
    shapes = {_shape(item, name) for item in nested}
    if len(shapes) > 1:
        raise ValueError(f"{name}: inputs: expected rows of equal length, got several")
    return (len(nested), *(shapes.pop() if shapes else ()))


def _batches(data: Any, steps: int | None) -> Iterator[Any]:
    """The inputs of data: an array or list is one batch."""
    if isinstance(data, (np.ndarray, list, tuple, Tensor, str, bytes)):
        yield data
        return
    for i, batch in enumerate(data):
        if i == steps:
            return
        yield batch[0] if isinstance(batch, tuple) else batch


class StringLookup(_Lookup):
    """Strings to their places in a vocabulary, or with `invert` the other way.

    Parameters
    ----------
    max_tokens : int, optional
        Most places, those of padding and unknown strings included.
    num_oov_indices : int
        Places for unknown strings; with 0 they are an error, or left out of counts. Several are shared out by CRC-32.
    mask_token : str, optional
        The string whose place is 0, where `output_mode` is "int".
    oov_token : str
        What unknown places stand for with `invert`.
    vocabulary : list of str, or the path of a file with one a line, optional
        In place of `adapt`.
    idf_weights : array, optional
        One number a string, for "tf_idf".
    invert : bool
    output_mode : {"int", "one_hot", "multi_hot", "count", "tf_idf"}
        Places; one row of 0 and 1 for each string; or for each row of strings, whether they are there, how often, or
        how often times the logarithm of 1 + documents / (1 + documents with it).
    pad_to_max_tokens : bool
        Whether rows have max_tokens numbers from the start.
    sparse : bool
        Must be False.
    encoding : str
        Of bytes.
    """

    def __init__(
        self,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        mask_token: str | None = None,
        oov_token: str = "[UNK]",
        vocabulary: Any = None,
        idf_weights: Any = None,
        invert: bool = False,
        output_mode: str = "int",
        pad_to_max_tokens: bool = False,
        sparse: bool = False,
        encoding: str = "utf-8",
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.__dict__["encoding"] = encoding
        super().__init__(
            max_tokens, num_oov_indices, mask_token, oov_token, vocabulary, idf_weights, invert, output_mode,
            pad_to_max_tokens, sparse, name=name, **kwargs,
        )  # fmt: skip

    def _token(self, value: Any) -> str:
        return _text(value, self.__dict__["encoding"], f"{self.name}: inputs")

    def _oov(self, token: str) -> int:
        return zlib.crc32(token.encode()) % self.num_oov_indices

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "encoding": self.__dict__["encoding"]}


class IntegerLookup(_Lookup):
    """Integers to their places in a vocabulary, or with `invert` the other way.

    Parameters
    ----------
    max_tokens : int, optional
        Most places, those of padding and unknown numbers included.
    num_oov_indices : int
        Places for unknown numbers; with 0 they are an error, or left out of counts. Of several, number i takes that of
        i modulo their number.
    mask_token : int, optional
        The number whose place is 0, where `output_mode` is "int".
    oov_token : int
        What unknown places stand for with `invert`.
    vocabulary : list of int, optional
        In place of `adapt`.
    vocabulary_dtype : {"int64"}
    idf_weights : array, optional
    invert : bool
    output_mode : {"int", "one_hot", "multi_hot", "count", "tf_idf"}
        As for `StringLookup`.
    sparse : bool
        Must be False.
    pad_to_max_tokens : bool
    oov_method : {"floormod"}
        How unknown numbers choose among their places.
    salt
        Must be None: nothing is hashed.
    """

    def __init__(
        self,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        mask_token: int | None = None,
        oov_token: int = -1,
        vocabulary: Any = None,
        vocabulary_dtype: str = "int64",
        idf_weights: Any = None,
        invert: bool = False,
        output_mode: str = "int",
        sparse: bool = False,
        pad_to_max_tokens: bool = False,
        oov_method: str = "floormod",
        salt: None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        if vocabulary_dtype != "int64":
            raise ValueError(f"IntegerLookup: vocabulary_dtype: expected 'int64', got {short(vocabulary_dtype)}")
        if oov_method != "floormod":
            raise NotImplementedError(f"IntegerLookup: oov_method: expected 'floormod', got {short(oov_method)}")
        refuse("IntegerLookup", salt=salt)
        super().__init__(
            max_tokens, num_oov_indices, mask_token, oov_token, vocabulary, idf_weights, invert, output_mode,
            pad_to_max_tokens, sparse, name=name, **kwargs,
        )  # fmt: skip

    def _token(self, value: Any) -> int:
        if isinstance(value, str) and value.strip().lstrip("-").isdigit():
            return int(value)  # a line of a file
        if isinstance(value, bool) or not isinstance(value, (int, float)) or int(value) != value:
            raise TypeError(f"{self.name}: inputs: expected integers, got {short(value)}")
        return int(value)

    def _oov(self, token: int) -> int:
        return token % self.num_oov_indices


class TextVectorization(Layer):
    """Texts to the places of their words in a vocabulary.

    Parameters
    ----------
    max_tokens : int, optional
        Most places, those of padding ("") and unknown words ("[UNK]") included.
    standardize : {"lower_and_strip_punctuation", "lower", "strip_punctuation", None} or callable
        What is done to each text first; a function gets a string and gives one.
    split : {"whitespace", "character", None} or callable
        How a text becomes words; a function gets a string and gives a list.
    ngrams : int or tuple of int, optional
        Runs of up to so many words, or of so many, count as words.
    output_mode : {"int", "one_hot", "multi_hot", "count", "tf_idf"}
        As for `StringLookup`.
    output_sequence_length : int, optional
        Length of the rows with "int"; by default that of the longest text of the batch.
    pad_to_max_tokens : bool
        Whether rows of the other modes have max_tokens numbers from the start.
    vocabulary : list of str, or the path of a file with one a line, optional
        In place of `adapt`.
    idf_weights : array, optional
        One number a word, for "tf_idf".
    sparse, ragged : bool
        Must be False.
    encoding : str
        Of bytes.
    """

    def __init__(
        self,
        max_tokens: int | None = None,
        standardize: str | Callable[[str], str] | None = "lower_and_strip_punctuation",
        split: str | Callable[[str], list[str]] | None = "whitespace",
        ngrams: Any = None,
        output_mode: str = "int",
        output_sequence_length: int | None = None,
        pad_to_max_tokens: bool = False,
        vocabulary: Any = None,
        idf_weights: Any = None,
        sparse: bool = False,
        ragged: bool = False,
        encoding: str = "utf-8",
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        what = "TextVectorization"
        known = ("lower_and_strip_punctuation", "lower", "strip_punctuation", None)
        if not callable(standardize) and standardize not in known:
            raise ValueError(f"{what}: standardize: expected one of {known} or a function, got {short(standardize)}")
        if not callable(split) and split not in ("whitespace", "character", None):
            raise ValueError(
                f"{what}: split: expected 'whitespace', 'character', None or a function, got {short(split)}"
            )
        if ngrams is not None:
            listed = ngrams if isinstance(ngrams, (tuple, list)) else [ngrams]
            listed = [positive(n, f"{what}: ngrams") for n in listed]
            self._widths = tuple(listed) if isinstance(ngrams, (tuple, list)) else tuple(range(1, listed[0] + 1))
        else:
            self._widths = ()
        refuse(what, False, sparse=sparse, ragged=ragged)
        mode = _output_mode(output_mode, what)
        if output_sequence_length is not None:
            output_sequence_length = positive(output_sequence_length, f"{what}: output_sequence_length")
            if mode != "int":
                raise ValueError(f"{what}: output_sequence_length: expected None where output_mode is {output_mode!r}")
        self.standardize, self.split, self.ngrams = standardize, split, ngrams
        self.output_mode, self.output_sequence_length, self.encoding = mode, output_sequence_length, encoding
        self._lookup = StringLookup(max_tokens, 1, "", "[UNK]", vocabulary, idf_weights, False, mode, pad_to_max_tokens)
        self.built = True

    def adapt(self, data: Any, batch_size: int | None = None, steps: int | None = None) -> None:
        """Make the vocabulary of texts.

        Parameters
        ----------
        data : array or list of texts, or an iterable of batches
            Of batches that are tuples, the first part counts.
        batch_size : int, optional
            Accepted for Keras' sake: the vocabulary does not depend on it.
        steps : int, optional
            At most so many batches.
        """
        self._lookup.reset_state()
        for batch in _batches(data, steps):
            self._lookup._count(self._words(batch))
        self._lookup.finalize_state()

    def set_vocabulary(self, vocabulary: Any, idf_weights: Any = None) -> None:
        """Take these words, in their order; see `StringLookup.set_vocabulary`."""
        self._lookup.set_vocabulary(vocabulary, idf_weights)

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[str]:
        """The words by their places."""
        return self._lookup.get_vocabulary(include_special_tokens)

    def vocabulary_size(self) -> int:
        """How many places there are."""
        return self._lookup.vocabulary_size()

    def _words(self, inputs: Any) -> list[list[str]]:
        """The words of each text."""
        nested = _nested(inputs)
        texts = nested if isinstance(nested, list) else [nested]
        rows = []
        for item in texts:
            if isinstance(item, list) and self.split is not None:
                if len(item) != 1:
                    raise ValueError(f"{self.name}: inputs: expected one text a row, got {len(item)}")
                item = item[0]
            rows.append(self._ngrams([w for text in _leaves(item) for w in self._split(text)]))
        return rows

    def _split(self, text: Any) -> list[str]:
        text = _text(text, self.encoding, f"{self.name}: inputs")
        if callable(self.standardize):
            text = _text(self.standardize(text), self.encoding, f"{self.name}: standardize")
        elif self.standardize is not None:
            if "lower" in self.standardize:
                text = text.lower()
            if "strip" in self.standardize:
                text = _PUNCTUATION.sub("", text)
        if callable(self.split):
            return [_text(w, self.encoding, f"{self.name}: split") for w in self.split(text)]
        return text.split() if self.split == "whitespace" else list(text) if self.split == "character" else [text]

    def _ngrams(self, words: list[str]) -> list[str]:
        if not self._widths:
            return words
        return [" ".join(words[i : i + n]) for n in self._widths for i in range(len(words) - n + 1)]

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        return self.call(inputs)

    def call(self, inputs: Any) -> Any:
        single = isinstance(_nested(inputs), (str, bytes))
        look = self._lookup
        rows = [[look._place(w) for w in row] for row in self._words(inputs)]
        if self.output_mode == "one_hot":
            length = max(map(len, rows), default=0)
            hot = np.zeros((len(rows), length, look._depth()), self.compute_dtype)
            for i, row in enumerate(rows):
                hot[i, np.arange(len(row)), row] = 1
            return wrap(hot[0] if single else hot)
        if self.output_mode != "int":
            made = look._rows(rows)
            return wrap(made[0] if single else made)
        length = self.output_sequence_length or max(map(len, rows), default=0)
        table = np.zeros((len(rows), length), np.int64)
        for i, row in enumerate(rows):
            part = row[:length]
            table[i, : len(part)] = part
        return wrap(table[0] if single else table)

    def get_config(self) -> dict[str, Any]:
        if callable(self.standardize) or callable(self.split):
            raise NotImplementedError(
                f"{self.name}: get_config: standardize and split are functions, which are not saved"
            )
        config = self._lookup.get_config()
        return {
            **super().get_config(),
            **{k: config[k] for k in ("max_tokens", "vocabulary", "idf_weights", "pad_to_max_tokens")},
            "standardize": self.standardize,
            "split": self.split,
            "ngrams": self.ngrams,
            "output_mode": self.output_mode,
            "output_sequence_length": self.output_sequence_length,
            "encoding": self.encoding,
        }
