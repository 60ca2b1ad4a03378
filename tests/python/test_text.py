"""TextVectorization, lookups, and the older Tokenizer."""

import numpy as np
import pytest

from lamella import layers
from lamella.preprocessing.sequence import pad_sequences
from lamella.preprocessing.text import Tokenizer, hashing_trick, one_hot, text_to_word_sequence, tokenizer_from_json
from lamella.utils import timeseries_dataset_from_array

TEXTS = ["The cat sat, the cat!", "A dog sat.", "the end"]


def test_words_to_places():
    v = layers.TextVectorization()
    v.adapt(TEXTS)
    # the 3, sat and cat 2 each (the last in the alphabet first), end, dog, a once
    assert v.get_vocabulary() == ["", "[UNK]", "the", "sat", "cat", "end", "dog", "a"]
    assert v(["a Cat flew", "the"]).tolist() == [[7, 4, 1], [2, 0, 0]]
    assert v("the end").tolist() == [2, 5] and v(np.array([["the"], ["end"]])).tolist() == [[2], [5]]
    assert v(TEXTS).dtype == np.int64 and v.vocabulary_size() == 8
    v = layers.TextVectorization(max_tokens=4, output_sequence_length=2)
    v.adapt(iter([(TEXTS[:2], 0), (TEXTS[2:], 1)]))
    assert v.get_vocabulary(False) == ["the", "sat"] and v(["the the the", b"x"]).tolist() == [[2, 2], [1, 0]]


@pytest.mark.parametrize(
    "kwargs,text,words",
    [
        ({"standardize": None}, "The cat.", ["The", "cat."]),
        ({"standardize": "lower"}, "The cat.", ["the", "cat."]),
        ({"standardize": "strip_punctuation"}, "The ca't.", ["The", "cat"]),
        ({"split": "character"}, "Ab!", ["a", "b"]),
        ({"split": None}, "A b", ["a b"]),
        ({"split": lambda s: s.split("-"), "standardize": None}, "a-b c", ["a", "b c"]),
        ({"ngrams": 2}, "a b c", ["a", "b", "c", "a b", "b c"]),
        ({"ngrams": (2,)}, "a b c", ["a b", "b c"]),
    ],
)
def test_how_texts_become_words(kwargs, text, words):
    assert layers.TextVectorization(**kwargs)._words([text]) == [words]


def test_counts_of_words():
    for mode in ("multi_hot", "count", "tf_idf", "one_hot"):
        v = layers.TextVectorization(output_mode=mode, max_tokens=10, pad_to_max_tokens=True)
        v.adapt(TEXTS)
        assert v.get_vocabulary()[:3] == ["[UNK]", "the", "sat"]
        got = v(["the the sat bird"]).numpy()
        if mode == "one_hot":
            assert got.shape == (1, 4, 10) and got[0].argmax(-1).tolist() == [1, 1, 2, 0]
            continue
        weights = np.log(1 + 3 / (1 + np.array([2, 2, 1, 1, 1, 1])))
        expected = {
            "multi_hot": [1, 1, 1], "count": [1, 2, 1], "tf_idf": [weights.mean(), 2 * weights[0], weights[1]]
        }[mode]  # fmt: skip
        assert got.shape == (1, 10)
        np.testing.assert_allclose(got[0], [*expected, *[0] * 7], rtol=1e-6)
        again = layers.TextVectorization.from_config(v.get_config())
        np.testing.assert_array_equal(again(["the the sat bird"]).numpy(), got)


def test_lookups():
    table = layers.StringLookup(vocabulary=["a", "b"])
    assert table([["a", "c"], ["b", "a"]]).tolist() == [[1, 0], [2, 1]] and table.get_vocabulary() == [
        "[UNK]",
        "a",
        "b",
    ]
    assert layers.StringLookup(vocabulary=["a", "b"], mask_token="")(["", "b", "x"]).tolist() == [0, 3, 1]
    assert layers.StringLookup(vocabulary=["a", "b"], invert=True)(np.array([[2, 0]])) == [["b", "[UNK]"]]
    assert layers.StringLookup(vocabulary=["a"], output_mode="one_hot")(["a", "z"]).tolist() == [[0, 1], [1, 0]]
    several = layers.StringLookup(vocabulary=["a"], num_oov_indices=3)
    assert several(["a"]).tolist() == [3] and {int(p) for p in several(["x", "y", "z", "w", "v"]).tolist()} <= {0, 1, 2}
    with pytest.raises(ValueError, match="expected tokens of the vocabulary"):
        layers.StringLookup(vocabulary=["a"], num_oov_indices=0)(["b"])
    numbers = layers.IntegerLookup()
    numbers.adapt([[5, 7], [7, 5], [7, 9]])
    assert numbers.get_vocabulary() == [-1, 7, 5, 9] and numbers(np.array([9, 7, 1])).tolist() == [3, 1, 0]
    counted = layers.IntegerLookup(vocabulary=[7, 5], output_mode="count", num_oov_indices=2)
    assert counted([[7, 7, 4], [5, 3, 1]]).tolist() == [[1, 0, 2, 0], [0, 2, 0, 1]]
    again = layers.IntegerLookup.from_config(numbers.get_config())
    assert again.get_vocabulary() == numbers.get_vocabulary()
    weights = layers.StringLookup(vocabulary=["a", "b"], idf_weights=[2.0, 4.0], output_mode="tf_idf")
    assert weights([["a", "a", "q"]]).tolist() == [[3.0, 4.0, 0.0]]


def test_vocabulary_of_a_file(tmp_path):
    (tmp_path / "v.txt").write_text("x\ny\n")
    assert layers.StringLookup(vocabulary=str(tmp_path / "v.txt"))(["y"]).tolist() == [2]
    assert layers.TextVectorization(vocabulary=str(tmp_path / "v.txt"))(["y q"]).tolist() == [[3, 1]]


@pytest.mark.parametrize(
    "make,error,text",
    [
        (lambda: layers.StringLookup(vocabulary=["a", "a"]), ValueError, "expected each token once, got 'a' again"),
        (lambda: layers.StringLookup(vocabulary=[]), ValueError, "at least one token"),
        (lambda: layers.StringLookup(2, vocabulary=["a", "b"]), ValueError, "at most 2 tokens, got 3"),
        (lambda: layers.StringLookup(vocabulary=["a"], mask_token="a"), ValueError, "in front or not at all"),
        (lambda: layers.StringLookup(1), ValueError, "max_tokens: expected at least 2"),
        (lambda: layers.StringLookup(output_mode="x"), ValueError, "output_mode"),
        (lambda: layers.StringLookup(sparse=True), NotImplementedError, "sparse"),
        (lambda: layers.StringLookup(invert=True, output_mode="count"), ValueError, "expected 'int' with invert"),
        (lambda: layers.StringLookup(vocabulary=["a"]).adapt(["b"]), ValueError, "given when the layer was made"),
        (lambda: layers.StringLookup(vocabulary=["a"])([1]), TypeError, "expected strings, got int"),
        (lambda: layers.IntegerLookup(vocabulary=[1])(["x"]), TypeError, "expected integers, got 'x'"),
        (lambda: layers.TextVectorization(standardize="x"), ValueError, "standardize"),
        (lambda: layers.TextVectorization(split="x"), ValueError, "split"),
        (lambda: layers.TextVectorization(ngrams=0), ValueError, "ngrams"),
        (
            lambda: layers.TextVectorization(output_mode="count", output_sequence_length=3),
            ValueError,
            "sequence_length",
        ),
        (lambda: layers.TextVectorization(split=str.split).get_config(), NotImplementedError, "functions"),
        (lambda: layers.TextVectorization()([["a", "b"]]), ValueError, "one text a row, got 2"),
    ],
)
def test_refused(make, error, text):
    with pytest.raises(error, match=text):
        make()


def test_tokenizer():
    t = Tokenizer(oov_token="<x>")
    t.fit_on_texts(TEXTS)
    assert (
        t.word_index == {"<x>": 1, "the": 2, "cat": 3, "sat": 4, "a": 5, "dog": 6, "end": 7} and t.document_count == 3
    )
    assert t.texts_to_sequences(["the bird sat"]) == [[2, 1, 4]] and t.sequences_to_texts([[2, 99, 4]]) == [
        "the <x> sat"
    ]
    again = tokenizer_from_json(t.to_json())
    assert again.texts_to_sequences(TEXTS) == t.texts_to_sequences(TEXTS)
    few = Tokenizer(num_words=3)
    few.fit_on_texts(TEXTS)
    assert few.texts_to_sequences(TEXTS) == [[1, 2, 1, 2], [], [1]]
    assert few.texts_to_matrix(TEXTS, "count").tolist() == [[0, 2, 2], [0, 0, 0], [0, 1, 0]]
    assert few.texts_to_matrix(TEXTS[:1], "freq").tolist() == [[0, 0.5, 0.5]]
    np.testing.assert_allclose(few.texts_to_matrix(TEXTS[2:], "tfidf"), [[0, np.log(1 + 3 / (1 + 2)), 0]])
    letters = Tokenizer(char_level=True)
    letters.fit_on_texts(["aab"])
    assert letters.texts_to_sequences(["Ba"]) == [[2, 1]]
    assert text_to_word_sequence("A b,c!") == ["a", "b", "c"]
    assert (
        one_hot("a b a", 50) == hashing_trick("a b a", 50) and 1 <= min(one_hot("a b", 9)) <= max(one_hot("a b", 9)) < 9
    )
    with pytest.raises(ValueError, match="mode: expected"):
        t.texts_to_matrix(TEXTS, "tf")


def test_pad_sequences():
    rows = [[1], [2, 3], [4, 5, 6], []]
    assert pad_sequences(rows).tolist() == [[0, 0, 1], [0, 2, 3], [4, 5, 6], [0, 0, 0]]
    assert pad_sequences(rows, 2, padding="post", value=-1).tolist() == [[1, -1], [2, 3], [5, 6], [-1, -1]]
    assert pad_sequences(rows, 2, truncating="post").tolist()[2] == [4, 5]
    assert pad_sequences(rows, 0).shape == (4, 0) and pad_sequences(rows).dtype == np.int32
    deep = pad_sequences([np.ones((2, 3)), np.ones((1, 3))], dtype="float32")
    assert deep.shape == (2, 2, 3) and deep[1, 0].tolist() == [0, 0, 0]
    assert pad_sequences([["a"], ["b", "c"]], dtype=object, value="-").tolist() == [["-", "a"], ["b", "c"]]
    for bad in ({"padding": "x"}, {"truncating": "x"}, {"maxlen": -1}, {"value": "x"}):
        with pytest.raises(ValueError, match=f"{next(iter(bad))}: expected"):
            pad_sequences(rows, **bad)
    with pytest.raises(ValueError, match="expected sequences, got 3"):
        pad_sequences([[1], 3])
    with pytest.raises(ValueError, match="at position 1"):
        pad_sequences([np.ones((2, 3)), np.ones((1, 2))])


def test_windows_of_time_series():
    steps = np.arange(20.0)[:, None]
    windows, targets = next(iter(timeseries_dataset_from_array(steps, np.arange(20) * 10, 3)))
    assert windows.shape == (18, 3, 1) and windows[4, :, 0].tolist() == [4, 5, 6] and targets[4].item() == 40
    settings = {"sequence_stride": 4, "sampling_rate": 2, "batch_size": 2, "start_index": 2, "end_index": 19}
    made = timeseries_dataset_from_array(steps, None, 3, **settings)
    assert [b[:, :, 0].tolist() for b in made] == [[[2, 4, 6], [6, 8, 10]], [[10, 12, 14], [14, 16, 18]]] and len(
        made
    ) == 2
    shuffled = timeseries_dataset_from_array(steps, None, 3, batch_size=None, shuffle=True, seed=1)
    first, second = ([w[0, 0].item() for w in shuffled] for _ in range(2))
    assert sorted(first) == sorted(second) == list(range(18)) and first != second
    for kwargs in (
        {"sequence_length": 21},
        {"start_index": 20},
        {"end_index": 21},
        {"sampling_rate": 0},
        {"batch_size": 0},
    ):
        with pytest.raises(ValueError, match=f"{next(iter(kwargs))}: expected"):
            timeseries_dataset_from_array(steps, None, **{"sequence_length": 2, **kwargs})
