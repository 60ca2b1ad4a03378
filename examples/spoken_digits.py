"""Recognise spoken digits of a speaker who was never heard: a convolutional network on log-mel spectrograms.

Data: the Free Spoken Digit Dataset (Jackson et al., CC BY-SA 4.0): men who say each digit 50 times, 8 kHz. Each speaker
in turn is held out entirely, for clips of a known voice are far easier. Copies of the clips at other speeds, and so at
other pitches, stand in for the voices that are missing.

Expect a mean of 0.65 to 0.7, where logistic regression on the same spectrograms gets 0.56: four voices are few to learn
from, and some are far from the others.
"""

import _data
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lamella import layers, models
from lamella.utils import pad_sequences

SAMPLES, BANDS, STEPS, COPIES = 8000, 40, 64, 3
log_mel = layers.MelSpectrogram(256, 125, sampling_rate=8000, num_mel_bins=BANDS, min_freq=60)


def spectrograms(sounds):
    """(n, bands, steps, 1) of the first second of each sound, each of mean 0 and deviation 1."""
    level = log_mel(pad_sequences(sounds, SAMPLES, "float32", "post", "post")).numpy()[..., :STEPS, None]
    return (level - level.mean((1, 2), keepdims=True)) / level.std((1, 2), keepdims=True)


def spoken(samples, speed):
    """A clip as it sounds at another speed, and so at another pitch."""
    return np.interp(np.arange(0, len(samples) - 1, speed), np.arange(len(samples)), samples).astype(np.float32)


def stage(filters):
    conv = layers.Conv2D(filters, 3, padding="same", use_bias=False)
    return conv, layers.BatchNormalization(), layers.ReLU(), layers.MaxPooling2D(2)


def network(shape):
    return models.Sequential(
        [
            layers.Input(shape),
            layers.RandomErasing(scale=(0, 0.1), fill_value=0.0),
            *stage(16),
            *stage(32),
            *stage(64),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )


def segments(x):
    """The mean of each band over eighths of the second."""
    return x.reshape(len(x), BANDS, 8, -1).mean(3).reshape(len(x), -1)


def main(argv=None):
    parser = _data.arguments(__doc__, epochs=6)
    parser.add_argument("--speaker", help="hold out only this one")
    args = _data.begin(parser, argv)
    clips = _data.spoken_digits(args.data)
    speakers = sorted({speaker for _, speaker, _ in clips})
    if args.speaker not in (None, *speakers):
        parser.error(f"--speaker: expected one of {', '.join(speakers)}, got {args.speaker}")

    y, speaker = (np.array(column) for column in list(zip(*clips, strict=True))[:2])
    sounds = [samples for _, _, samples in clips]
    rng = np.random.default_rng(args.seed)
    others = [[spoken(samples, rng.uniform(0.8, 1.25)) for samples in sounds] for _ in range(COPIES)]
    x, *varied = [spectrograms(group) for group in (sounds, *others)]

    found = {"convolutional network": [], "logistic regression on 8 segments": []}
    for who in [args.speaker] if args.speaker else speakers:
        train, test = speaker != who, speaker == who
        model = network(x.shape[1:])
        model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        model.fit(np.concatenate([part[train] for part in (x, *varied)]), np.tile(y[train], 1 + COPIES), batch_size=64,
                  epochs=args.epochs, verbose=0)  # fmt: skip
        linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500, C=0.1))
        linear.fit(segments(x[train]), y[train])
        scores = model.evaluate(x[test], y[test], verbose=0)[1], linear.score(segments(x[test]), y[test])
        print(f"{who:<12} network {scores[0]:.3f}, logistic regression {scores[1]:.3f}")
        for of_all, score in zip(found.values(), scores, strict=True):
            of_all.append(score)
    return _data.report(f"accuracy on speakers never heard, mean of {len(found['convolutional network'])}", {
        **{name: float(np.mean(values)) for name, values in found.items()},
        "guessing": 0.1,
    })  # fmt: skip


if __name__ == "__main__":
    main()
