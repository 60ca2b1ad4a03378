"""Sound: wav files, spectrograms, mel spectrograms and MFCC, on NumPy arrays.

Names and defaults are librosa's. Signals are (..., samples), spectra (..., bins, frames).
"""

from __future__ import annotations

import os
import struct
from typing import Any

import numpy as np

from ._errors import short
from .autograd import as_array

__all__ = [
    "amplitude_to_db",
    "dct_matrix",
    "get_window",
    "hz_to_mel",
    "mel_filterbank",
    "mel_to_hz",
    "melspectrogram",
    "mfcc",
    "power_to_db",
    "read_wav",
    "spectrogram",
    "stft",
    "write_wav",
]


# --- files -------------------------------------------------------------------------------------------------------


def read_wav(path: Any, dtype: Any = np.float32) -> tuple[np.ndarray, int]:
    """A wav file of 8, 16, 24 or 32 bit integers, or 32 or 64 bit floats.

    Parameters
    ----------
    path : str, path or binary file
    dtype : dtype
        A float type: integers are brought into [-1, 1).

    Returns
    -------
    signal : ndarray
        (samples,), or (samples, channels) where there are several.
    rate : int
        Samples a second.
    """
    if hasattr(path, "read"):
        what, data = f"read_wav: {getattr(path, 'name', 'file')}", path.read()
        if not isinstance(data, bytes):
            raise TypeError(f"read_wav: path: expected a file that is open for bytes, got {type(data).__name__}")
    else:
        what = f"read_wav: {os.fspath(path)}"
        with open(path, "rb") as f:
            data = f.read()
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise ValueError(f"{what}: expected a RIFF WAVE file")
    kind = channels = rate = bits = 0
    at = 12
    while at + 8 <= len(data):
        name, size = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        body = data[at + 8 : at + 8 + size]
        if name == b"fmt ":
            if len(body) < 16:
                raise ValueError(f"{what}: expected a format of 16 bytes or more, got {len(body)}")
            kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", body)
            if kind == 0xFFFE and len(body) >= 26:  # extensible: the kind stands further on
                kind = struct.unpack_from("<H", body, 24)[0]
        elif name == b"data":
            if not channels:
                raise ValueError(f"{what}: expected a format before the data")
            return _samples(body, kind, channels, bits, np.dtype(dtype), what), rate
        at += 8 + size + size % 2
    raise ValueError(f"{what}: expected a data chunk, got none")


def _samples(body: bytes, kind: int, channels: int, bits: int, dtype: np.dtype, what: str) -> np.ndarray:
    if (kind, bits) not in ((1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (3, 64)):
        raise ValueError(f"{what}: expected integers of 8 to 32 bits or floats, got format {kind} of {bits} bits")
    frame = channels * bits // 8
    body = body[: len(body) // frame * frame]
    if kind == 3:
        signal = np.frombuffer(body, f"<f{bits // 8}").astype(dtype)
    elif bits == 24:
        wide = np.zeros((len(body) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(body, np.uint8).reshape(-1, 3)
        signal = (wide.view("<i4")[:, 0] / 2.0**31).astype(dtype)
    elif bits == 8:
        signal = ((np.frombuffer(body, np.uint8).astype(dtype) - 128) / 128).astype(dtype)
    else:
        signal = (np.frombuffer(body, f"<i{bits // 8}") / 2.0 ** (bits - 1)).astype(dtype)
    return signal.reshape(-1, channels) if channels > 1 else signal


def write_wav(path: Any, signal: Any, rate: int) -> None:
    """Write (samples,) or (samples, channels) of numbers in [-1, 1] as 16 bit integers."""
    import wave

    a = np.asarray(as_array(signal), np.float64)
    if a.ndim not in (1, 2):
        raise ValueError(f"write_wav: signal: expected (samples,) or (samples, channels), got shape {a.shape}")
    with wave.open(os.fspath(path), "wb") as f:
        f.setnchannels(1 if a.ndim == 1 else a.shape[1])
        f.setsampwidth(2)
        f.setframerate(int(rate))
        f.writeframes(np.clip(np.round(a * 32768), -32768, 32767).astype("<i2").tobytes())


# --- spectra -----------------------------------------------------------------------------------------------------

_COSINES = {
    "hann": (0.5, 0.5),
    "hamming": (0.54, 0.46),
    "blackman": (0.42, 0.5, 0.08),
    "blackmanharris": (0.35875, 0.48829, 0.14128, 0.01168),
    "boxcar": (1.0,),
}


def get_window(window: Any, length: int, periodic: bool = True) -> np.ndarray:
    """A window function.

    Parameters
    ----------
    window : {"hann", "hamming", "blackman", "blackmanharris", "boxcar"} or array
        "rectangular" and "ones" are other names of "boxcar".
    length : int
    periodic : bool
        Whether it goes on with its first sample, as Fourier transforms want, rather than end with it.
    """
    if not isinstance(window, str):
        values = np.asarray(as_array(window), np.float64)
        if values.shape != (length,):
            raise ValueError(f"get_window: window: expected {length} numbers, got shape {values.shape}")
        return values
    terms = _COSINES.get({"rectangular": "boxcar", "ones": "boxcar", "hanning": "hann"}.get(window, window))
    if terms is None:
        raise ValueError(f"get_window: window: expected one of {', '.join(_COSINES)}, got {short(window)}")
    if length == 1:
        return np.ones(1)
    t = 2 * np.pi * np.arange(length) / (length if periodic else length - 1)
    return np.sum([(-1) ** k * a * np.cos(k * t) for k, a in enumerate(terms)], axis=0)


def _whole(value: Any, what: str) -> int:
    if not hasattr(value, "__index__") or isinstance(value, bool) or value < 1:
        raise ValueError(f"{what}: expected a positive integer, got {short(value)}")
    return int(value)


def stft(
    y: Any,
    n_fft: int = 2048,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Any = "hann",
    center: bool = True,
    pad_mode: str = "constant",
) -> np.ndarray:
    """Short-time Fourier transform.

    Parameters
    ----------
    y : array
        (..., samples).
    n_fft : int
        Samples of a frame.
    hop_length : int, optional
        From one frame to the next; a quarter of win_length by default.
    win_length : int, optional
        Of the window, which stands in the middle of a frame; n_fft by default.
    window : str or array
        See `get_window`.
    center : bool
        Whether frame t is centred at sample t * hop_length, for which the signal is padded.
    pad_mode : str
        How, as for `numpy.pad`.

    Returns
    -------
    ndarray
        Complex, (..., 1 + n_fft / 2, frames).
    """
    signal = np.asarray(as_array(y))
    if signal.ndim == 0 or signal.dtype.kind not in "fiu":
        raise ValueError(f"stft: y: expected a signal of real numbers, got {signal.dtype} of shape {signal.shape}")
    signal = signal if signal.dtype.kind == "f" else signal.astype(np.float32)
    n_fft = _whole(n_fft, "stft: n_fft")
    length = n_fft if win_length is None else _whole(win_length, "stft: win_length")
    if length > n_fft:
        raise ValueError(f"stft: win_length: expected at most n_fft = {n_fft}, got {length}")
    hop = max(length // 4, 1) if hop_length is None else _whole(hop_length, "stft: hop_length")
    shape = np.zeros(n_fft)
    first = (n_fft - length) // 2
    shape[first : first + length] = get_window(window, length)
    if center:
        widths = [(0, 0)] * (signal.ndim - 1) + [(n_fft // 2, n_fft // 2)]
        signal = np.pad(signal, widths, mode=pad_mode)  # type: ignore[call-overload]
    if signal.shape[-1] < n_fft:
        raise ValueError(f"stft: y: expected at least n_fft = {n_fft} samples, got {signal.shape[-1]}")
    frames = np.lib.stride_tricks.sliding_window_view(signal, n_fft, axis=-1)[..., ::hop, :]
    spectrum = np.fft.rfft(frames * shape.astype(signal.dtype), axis=-1)
    kind = np.complex128 if signal.dtype == np.float64 else np.complex64
    return np.swapaxes(spectrum, -1, -2).astype(kind)


def spectrogram(
    y: Any,
    n_fft: int = 2048,
    hop_length: int | None = 512,
    win_length: int | None = None,
    window: Any = "hann",
    center: bool = True,
    pad_mode: str = "constant",
    power: float = 2.0,
) -> np.ndarray:
    """Magnitudes of `stft` to a power: 1 for magnitudes, 2 for power."""
    magnitude = np.abs(stft(y, n_fft, hop_length, win_length, window, center, pad_mode))
    return magnitude if power == 1 else magnitude**2 if power == 2 else magnitude**power


def hz_to_mel(frequencies: Any, htk: bool = False) -> np.ndarray:
    """Hertz to mel, by HTK's formula or Slaney's (linear up to 1 kHz, logarithmic above)."""
    f = np.asarray(frequencies, np.float64)
    if htk:
        return 2595.0 * np.log10(1.0 + f / 700.0)
    return np.where(f < 1000, f * 3 / 200, 15 + 27 * np.log(np.maximum(f, 1000) / 1000) / np.log(6.4))


def mel_to_hz(mels: Any, htk: bool = False) -> np.ndarray:
    """The inverse of `hz_to_mel`."""
    m = np.asarray(mels, np.float64)
    if htk:
        return 700.0 * (10.0 ** (m / 2595.0) - 1.0)
    return np.where(m < 15, m * 200 / 3, 1000 * np.exp(np.log(6.4) / 27 * (np.maximum(m, 15) - 15)))


def mel_filterbank(
    sr: float,
    n_fft: int,
    n_mels: int = 128,
    fmin: float = 0.0,
    fmax: float | None = None,
    htk: bool = False,
    norm: str | None = "slaney",
    dtype: Any = np.float32,
    straight_in: str = "hz",
) -> np.ndarray:
    """Triangular filters that are equally spaced in mel.

    Parameters
    ----------
    sr : float
        Samples a second.
    n_fft : int
    n_mels : int
        How many filters.
    fmin, fmax : float
        Their range in hertz; up to sr / 2 by default.
    htk : bool
        Which mel: see `hz_to_mel`.
    norm : {"slaney", None}
        Filters of equal area, or of height 1.
    dtype : dtype
    straight_in : {"hz", "mel"}
        In which of the two the sides of the triangles are straight lines.

    Returns
    -------
    ndarray
        (n_mels, 1 + n_fft / 2).
    """
    if straight_in not in ("hz", "mel"):
        raise ValueError(f"mel_filterbank: straight_in: expected 'hz' or 'mel', got {short(straight_in)}")
    if norm not in ("slaney", None):
        raise ValueError(f"mel_filterbank: norm: expected 'slaney' or None, got {short(norm)}")
    n_mels, n_fft = _whole(n_mels, "mel_filterbank: n_mels"), _whole(n_fft, "mel_filterbank: n_fft")
    top = sr / 2 if fmax is None else fmax
    if not 0 <= fmin < top:
        raise ValueError(f"mel_filterbank: fmin, fmax: expected 0 <= fmin < fmax, got {fmin} and {top}")
    mels = np.linspace(hz_to_mel(fmin, htk), hz_to_mel(top, htk), n_mels + 2)
    edges, bins = mel_to_hz(mels, htk), np.linspace(0, sr / 2, 1 + n_fft // 2)
    corners, at = (edges, bins) if straight_in == "hz" else (mels, hz_to_mel(bins, htk))
    ramps = corners[:, None] - at
    widths = np.diff(corners)[:, None]
    filters = np.maximum(0, np.minimum(-ramps[:-2] / widths[:-1], ramps[2:] / widths[1:]))
    if norm == "slaney":
        filters *= (2.0 / (edges[2:] - edges[:-2]))[:, None]
    return filters.astype(dtype)


def melspectrogram(
    y: Any,
    sr: float = 22050,
    n_fft: int = 2048,
    hop_length: int = 512,
    win_length: int | None = None,
    window: Any = "hann",
    center: bool = True,
    pad_mode: str = "constant",
    power: float = 2.0,
    n_mels: int = 128,
    fmin: float = 0.0,
    fmax: float | None = None,
    htk: bool = False,
    norm: str | None = "slaney",
) -> np.ndarray:
    """A spectrogram through mel filters: (..., n_mels, frames). See `spectrogram` and `mel_filterbank`."""
    spectrum = spectrogram(y, n_fft, hop_length, win_length, window, center, pad_mode, power)
    return mel_filterbank(sr, n_fft, n_mels, fmin, fmax, htk, norm, spectrum.dtype) @ spectrum


def power_to_db(S: Any, ref: Any = 1.0, amin: float = 1e-10, top_db: float | None = 80.0) -> np.ndarray:
    """Power in decibels.

    Parameters
    ----------
    S : array
    ref : float or callable
        What is 0 dB; a function, as `numpy.max`, gets S.
    amin : float
        Least power.
    top_db : float, optional
        Results lie at most so far below their maximum.
    """
    if not amin > 0:
        raise ValueError(f"power_to_db: amin: expected a number > 0, got {short(amin)}")
    if top_db is not None and not top_db >= 0:
        raise ValueError(f"power_to_db: top_db: expected a number >= 0 or None, got {short(top_db)}")
    power = np.asarray(as_array(S))
    level = abs(ref(power)) if callable(ref) else abs(ref)
    db = 10.0 * np.log10(np.maximum(amin, power)) - 10.0 * np.log10(np.maximum(amin, level))
    db = db.astype(power.dtype if power.dtype.kind == "f" else np.float32)
    return db if top_db is None or not db.size else np.maximum(db, db.max() - db.dtype.type(top_db))


def amplitude_to_db(S: Any, ref: Any = 1.0, amin: float = 1e-5, top_db: float | None = 80.0) -> np.ndarray:
    """Amplitudes in decibels; see `power_to_db`."""
    magnitude = np.abs(np.asarray(as_array(S)))
    level = ref(magnitude) if callable(ref) else ref
    return power_to_db(magnitude**2, abs(level) ** 2, amin**2, top_db)


def dct_matrix(n_out: int, n_in: int, norm: str | None = "ortho") -> np.ndarray:
    """The first rows of the discrete cosine transform (type 2)."""
    if norm not in ("ortho", None):
        raise ValueError(f"dct_matrix: norm: expected 'ortho' or None, got {short(norm)}")
    m = 2 * np.cos(np.pi / n_in * (np.arange(n_in) + 0.5) * np.arange(n_out)[:, None])
    if norm == "ortho":
        m *= np.sqrt(0.5 / n_in)
        m[0] *= np.sqrt(0.5)
    return m


def mfcc(
    y: Any = None,
    sr: float = 22050,
    S: Any = None,
    n_mfcc: int = 20,
    norm: str | None = "ortho",
    lifter: float = 0,
    **kwargs: Any,
) -> np.ndarray:
    """Mel-frequency cepstral coefficients: (..., n_mfcc, frames).

    Parameters
    ----------
    y : array, optional
        A signal, or
    S : array, optional
        a mel spectrogram in decibels.
    sr : float
        Samples a second.
    n_mfcc : int
    norm : {"ortho", None}
        Of the cosine transform.
    lifter : float
        Greater than 0: coefficient n is multiplied by 1 + lifter / 2 * sin(pi * (n + 1) / lifter).
    **kwargs
        For `melspectrogram`, where there is no S.
    """
    if (y is None) == (S is None):
        raise ValueError("mfcc: y, S: expected one of them")
    if not lifter >= 0:
        raise ValueError(f"mfcc: lifter: expected a number >= 0, got {short(lifter)}")
    if S is None:
        S = power_to_db(melspectrogram(y, sr, **kwargs))
    elif kwargs:
        raise TypeError(f"mfcc: expected no {', '.join(kwargs)} with S")
    S = np.asarray(as_array(S))
    n_mfcc = _whole(n_mfcc, "mfcc: n_mfcc")
    if n_mfcc > S.shape[-2]:
        raise ValueError(f"mfcc: n_mfcc: expected at most {S.shape[-2]}, the mel bands, got {n_mfcc}")
    coefficients = dct_matrix(n_mfcc, S.shape[-2], norm).astype(S.dtype) @ S
    if lifter > 0:
        lift = 1 + lifter / 2 * np.sin(np.pi * np.arange(1, 1 + n_mfcc) / lifter)
        coefficients *= lift.astype(S.dtype)[:, None]
    return coefficients
