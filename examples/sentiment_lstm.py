"""Tell favourable from unfavourable film reviews with word embeddings and an LSTM.

Data: 10,568 sentences from film reviews (Rotten Tomatoes) that people have rated from -4 to 4; those above zero count
as positive. They come in the source archive of vaderSentiment 3.3.2 and are not to be redistributed; 80 % train. The
target is not the label but how sure the raters were of it: 0.5 for a score of 0, up to 1 from a score of 2 on.

Expect about 0.78. TF-IDF with logistic regression gets 0.79: with 8,000 short sentences and no pretrained vectors,
counts of words and of pairs of words are hard to beat (the standard error on the test sentences is 0.009).
"""

import _data
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from lamella import callbacks, layers, models

WORDS, LENGTH = 10_000, 40  # that are known, and that are read of a sentence


def network():
    return models.Sequential(
        [
            layers.Input((LENGTH,), dtype="int64"),
            layers.Embedding(WORDS, 64, mask_zero=True),
            layers.Dropout(0.5),
            layers.Bidirectional(layers.LSTM(64)),
            layers.Dropout(0.5),
            layers.Dense(1, activation="sigmoid"),
        ]
    )


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
        "embeddings and bidirectional LSTM": ((model.predict(numbers(test_texts))[:, 0] > 0.5) == labels[test]).mean(),
        "TF-IDF (1-2 words) and logistic regression": counts.score(test_texts, labels[test]),
        "always the more frequent label": np.bincount(labels[test]).max() / len(test),
    })  # fmt: skip


if __name__ == "__main__":
    main()
