"""Tell favourable from unfavourable film reviews with a small transformer.

Data: the 10,568 sentences of sentiment_lstm.py (vaderSentiment 3.3.2's source archive); 80 % train.

Two blocks of self-attention and a feed-forward layer read word embeddings with learned positions; padding is masked.
Expect about 0.77: like the LSTM it learns its words from 8,000 sentences alone, and TF-IDF with logistic regression is
ahead of both with 0.79. As there, the target is how sure the raters were.
"""

import _data
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from lamella import callbacks, layers, models

WORDS, LENGTH, WIDTH, HEADS = 10_000, 40, 64, 4


class Positions(layers.Layer):
    """Adds a learned vector for each position."""

    supports_masking = True

    def build(self, input_shape):
        self.table = self.add_weight(input_shape[1:], "uniform", name="table")

    def call(self, inputs):
        return inputs + self.table


def block(x):
    seen = layers.MultiHeadAttention(HEADS, WIDTH // HEADS, dropout=0.1)(x, x)
    x = layers.LayerNormalization()(layers.Add()([x, layers.Dropout(0.2)(seen)]))
    wide = layers.Dense(WIDTH)(layers.Dense(2 * WIDTH, activation="gelu")(x))
    return layers.LayerNormalization()(layers.Add()([x, layers.Dropout(0.2)(wide)]))


def network():
    ids = layers.Input((LENGTH,), dtype="int64")
    x = layers.Dropout(0.3)(Positions()(layers.Embedding(WORDS, WIDTH, mask_zero=True)(ids)))
    x = layers.GlobalAveragePooling1D()(block(block(x)))
    return models.Model(ids, layers.Dense(1, activation="sigmoid")(layers.Dropout(0.5)(x)))


def main(argv=None):
    args = _data.begin(_data.arguments(__doc__, epochs=10), argv)
    texts, scores = _data.movie_reviews(args.data)
    labels, sure = (scores > 0).astype(np.int64), np.clip(0.5 + scores / 4, 0, 1)
    train, test = _data.split(len(texts))
    train_texts, test_texts = [texts[i] for i in train], [texts[i] for i in test]

    numbers = layers.TextVectorization(WORDS, None, _data.words, output_sequence_length=LENGTH)
    numbers.adapt(train_texts)
    model = network()
    model.compile(optimizer="adam", loss="binary_crossentropy")
    best = callbacks.EarlyStopping("val_loss", patience=2, restore_best_weights=True)
    model.fit(numbers(train_texts), sure[train], batch_size=64, epochs=args.epochs, validation_split=0.1,
              callbacks=[best], verbose=_data.verbosity())  # fmt: skip

    counts = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10, max_iter=1000)
    )
    counts.fit(train_texts, labels[train])
    return _data.report(f"accuracy on {len(test):,} held-out sentences", {
        "transformer": ((model.predict(numbers(test_texts))[:, 0] > 0.5) == labels[test]).mean(),
        "TF-IDF (1-2 words) and logistic regression": counts.score(test_texts, labels[test]),
        "always the more frequent label": np.bincount(labels[test]).max() / len(test),
    })  # fmt: skip


if __name__ == "__main__":
    main()
