"""The command `lamella`: quickstart and info."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ._errors import short

_OUTPUTS = {"digits": "digits.safetensors", "fashion-mnist": "fashion-mnist.safetensors"}
_PICTURES = (".png", ".jpg", ".jpeg", ".pdf", ".svg")
_SHADES = " .:-=+*#%@"


def _info() -> int:
    """Print versions, ISA levels, threads and devices."""
    from . import __version__, _cpu

    built, supported = _cpu.isas_built(), _cpu.isas_supported()
    rows = [
        ("lamella", __version__),
        ("python", f"{platform.python_version()} ({platform.machine()} {platform.system()})"),
        ("numpy", np.__version__),
        ("cupy", _version("cupy") or "not installed"),
        ("cpu", _cpu.cpu_model()),
        ("isa", f"{_cpu.isa()} (built: {', '.join(built)}; this machine runs: {', '.join(supported)})"),
        ("threads", f"{_cpu.num_threads()} (of {os.cpu_count()} CPUs)"),
        ("cuda", "not built"),
    ]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")
    return 0


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    for name in (package, "cupy-cuda13x", "cupy-cuda12x"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None


def _digits_model() -> Any:
    from . import layers, models

    return models.Sequential(
        [
            layers.Conv2D(32, 3, padding="same", activation="relu", input_shape=(8, 8, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dropout(0.25),
            layers.Dense(10, activation="softmax"),
        ],
        name="digits",
    )


def _fashion_model() -> Any:
    from . import layers, models

    return models.Sequential(
        [
            layers.Conv2D(32, 3, activation="relu", input_shape=(28, 28, 1)),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ],
        name="fashion",
    )


def _as_images(x: np.ndarray, top: float) -> np.ndarray:
    return (x.astype(np.float32) / top)[..., np.newaxis]


def _check_quickstart(data: str, plot: str | None, path: str) -> None:
    """Find out before the training what would go wrong after it."""
    from . import _saving

    if data not in _OUTPUTS and not Path(data).is_dir():
        raise ValueError(f"--data: expected digits, fashion-mnist or a folder, got {short(data)}")
    _check_target("--output", _saving.check_path(path))
    if plot is None:
        return
    _check_target("--plot", plot)
    if not plot.lower().endswith(_PICTURES):
        raise ValueError(f"--plot: expected a name that ends in {', '.join(_PICTURES)}, got {short(plot)}")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ValueError("--plot needs matplotlib: pip install 'lamella[plot]'") from None


def _check_target(option: str, path: str) -> None:
    folder = Path(path).parent
    if Path(path).is_dir():
        raise ValueError(f"{option}: expected a file, got the folder {path!r}")
    if not folder.is_dir():
        raise ValueError(f"{option}: {path}: there is no folder {str(folder)!r}")
    if not os.access(folder, os.W_OK):
        raise ValueError(f"{option}: {path}: the folder {str(folder)!r} cannot be written")


def _quickstart(data: str, plot: str | None, path: str, epochs: int | None, seed: int) -> None:
    """Train, test, save, load again, predict, show."""
    import lamella

    from . import datasets, models

    names: Sequence[str]
    if data == "digits":
        (x, y), (x_test, y_test) = datasets.digits.load_data()
        make, top, batch, epochs, names = _digits_model, 16.0, 32, epochs or 20, [str(i) for i in range(10)]
    else:
        (x, y), (x_test, y_test) = datasets.fashion_mnist.load_data(None if data == "fashion-mnist" else data)
        make, top, batch, epochs, names = _fashion_model, 255.0, 128, epochs or 5, datasets.fashion_mnist.CLASSES
    images, test_images = _as_images(x, top), _as_images(x_test, top)

    lamella.seed(seed)
    model = make()
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    print(f"{data}: {len(x):,} images to train on, {len(x_test):,} held out; {model.count_params():,} parameters")
    started = time.perf_counter()
    history = model.fit(images, y, batch_size=batch, epochs=epochs, verbose=1 if sys.stderr.isatty() else 0)
    seconds = time.perf_counter() - started
    for epoch, (loss, accuracy) in enumerate(zip(history.history["loss"], history.history["accuracy"], strict=True)):
        print(f"epoch {epoch + 1:2d}: loss {loss:.4f}, accuracy {accuracy:.4f}")
    loss, accuracy = model.evaluate(test_images, y_test, batch_size=256, verbose=0)
    print(f"test accuracy {accuracy:.4f} (loss {loss:.4f})")
    print(f"trained {epochs} epochs in {seconds:.2f} s: {epochs * len(x) / seconds:,.0f} images/s")

    model.save(path)
    loaded = models.load_model(path)
    print(f"saved to {path} ({Path(path).stat().st_size / 1024:.0f} KiB) and loaded again")
    probabilities = loaded.predict(test_images[:6])
    _show_in_terminal(x_test[:6] / top, y_test[:6], probabilities, names)
    if plot is not None:
        _draw(plot, x_test[:16] / top, y_test[:16], loaded.predict(test_images[:16]), names)
        print(f"drew {plot}")


def _show_in_terminal(images: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, names: Sequence[str]) -> None:
    """Pictures with their predictions, as many side by side as fit."""
    columns, gap, size = shutil.get_terminal_size().columns, 3, images.shape[1]
    # A pixel is two characters wide; a picture at most 28, and no wider than the terminal.
    step = -(-size // max(1, min(14, columns // 2)))
    width = 2 * len(range(0, size, step))
    beside = max(1, (columns + gap) // (width + gap))
    beside = -(-len(images) // -(-len(images) // beside))  # rows of equal length
    for first in range(0, len(images), beside):
        if first:
            print()
        group = slice(first, first + beside)
        for r in range(0, size, step):
            print((" " * gap).join("".join(_SHADES[min(int(v * 10), 9)] * 2 for v in i[r, ::step])
                                   for i in images[group]).rstrip())  # fmt: skip
        captions = [f"{names[p.argmax()]} ({p.max():.0%})"[:width] for p in probabilities[group]]
        print((" " * gap).join(c.ljust(width) for c in captions).rstrip())
    wrong = int((probabilities.argmax(-1) != labels).sum())
    print(f"{len(labels) - wrong} of these {len(labels)} are right")


def _draw(path: str, images: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, names: Sequence[str]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 8, figsize=(12, 3.6))
    for axis, image, label, p in zip(axes.flat, images, labels, probabilities, strict=True):
        axis.imshow(image, cmap="gray_r")
        axis.axis("off")
        right = p.argmax() == label
        axis.set_title(f"{names[p.argmax()]} {p.max():.0%}", fontsize=8, color="black" if right else "red")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _number(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"expected an integer from {least} to {most}, got {short(text)}")
        return value

    return parse


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    from . import __version__

    parser = argparse.ArgumentParser(prog="lamella", description="Deep learning in one small wheel.")
    parser.add_argument("--version", action="version", version=f"lamella {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info", help="print versions, ISA levels, threads and devices")
    quick = commands.add_parser("quickstart", help="train a CNN on real images, save it, load it, predict")
    which = "digits (in the wheel), fashion-mnist, or a folder with Fashion-MNIST's IDX files"
    quick.add_argument("--data", default="digits", metavar="NAME", help=which)
    quick.add_argument("--plot", metavar="FILE.png", help="draw some predictions (needs matplotlib)")
    quick.add_argument("--output", metavar="FILE.safetensors", help="where to save the model")
    epochs = "default: 20 for digits, 5 for fashion-mnist"
    quick.add_argument("--epochs", type=_number(1, 10**6), metavar="N", help=epochs)
    quick.add_argument("--seed", type=_number(0, 2**64 - 1), default=0, metavar="N", help="default: 0")
    args = parser.parse_args(argv)
    if args.command == "info":
        return _info()
    output = _OUTPUTS.get(args.data, _OUTPUTS["fashion-mnist"]) if args.output is None else args.output
    try:
        _check_quickstart(args.data, args.plot, output)
    except ValueError as e:
        quick.error(str(e))
    try:
        _quickstart(args.data, args.plot, output, args.epochs, args.seed)
    except (OSError, ValueError) as e:  # data that are missing or damaged, a full disk
        print(f"lamella quickstart: {e}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("lamella quickstart: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
