"""Recognise speakers by sequences of unequal length: padding, masking and a GRU.

Data: JapaneseVowels (Kudo, Toyama & Shimbo 1999): nine men say /ae/; 12 cepstral coefficients over 7 to 29 time steps.
The official split: 270 sequences to train on, 370 to test. They come with aeon 1.6.0.

Expect about 0.98. Logistic regression on each coefficient's mean and deviation over time is a strong baseline.
"""

import _data
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lamella import layers, models, optimizers
from lamella.utils import pad_sequences


def network(length, channels, speakers):
    return models.Sequential(
        [
            layers.Input((length, channels)),
            layers.Masking(0.0),
            layers.Dropout(0.2),
            layers.GRU(64),
            layers.Dropout(0.4),
            layers.Dense(speakers, activation="softmax"),
        ]
    )


def statistics(series):
    return np.stack([np.concatenate([s.mean(0), s.std(0)]) for s in series])


def main(argv=None):
    args = _data.begin(_data.arguments(__doc__, epochs=60), argv)
    (series, y), (test_series, y_test) = _data.japanese_vowels(args.data)
    length = max(map(len, series))
    steps = np.concatenate(series)
    series, test_series = ([(s - steps.mean(0)) / steps.std(0) for s in part] for part in (series, test_series))

    model = network(length, series[0].shape[1], int(y.max()) + 1)
    model.compile(optimizers.Adam(0.003), "sparse_categorical_crossentropy", metrics=["accuracy"])
    # Zeros behind the ends: Masking keeps the recurrent layer from reading them.
    x, x_test = (
        pad_sequences(part, length, "float32", padding="post", truncating="post") for part in (series, test_series)
    )
    model.fit(x, y, batch_size=32, epochs=args.epochs, verbose=_data.verbosity())

    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(statistics(series), y)
    return _data.report(f"accuracy on {len(y_test)} test sequences", {
        "GRU over masked sequences": model.evaluate(x_test, y_test, verbose=0)[1],
        "mean and deviation, logistic regression": linear.score(statistics(test_series), y_test),
        "always the most frequent speaker": np.bincount(y_test).max() / len(y_test),
    })  # fmt: skip


if __name__ == "__main__":
    main()
