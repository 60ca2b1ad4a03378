"""Sound as input."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import audio
from .._errors import short
from ..autograd import Tensor, wrap
from ._arguments import number, positive
from .base import Layer

__all__ = ["MelSpectrogram"]


class MelSpectrogram(Layer):
    """Signals (n, samples), or one (samples,), to mel spectrograms (n, num_mel_bins, frames).

    It is computed with NumPy's Fourier transform. Inside a model it keeps `fit` from native plans, so prepare the data
    with it beforehand, or in a pipeline. No gradient goes through it.

    Parameters
    ----------
    fft_length : int
        Samples of a frame, zeros around the window included.
    sequence_stride : int
        Samples from one frame to the next.
    sequence_length : int, optional
        Samples of the window; fft_length by default.
    window : str or array
        See `audio.get_window`.
    sampling_rate : int
        Samples a second.
    num_mel_bins : int
    min_freq, max_freq : float
        In hertz; up to half the sampling rate by default.
    power_to_db : bool
        Whether the result is in decibels.
    top_db : float
        Decibels lie at most so far below the maximum of the batch.
    mag_exp : float
        The power to which magnitudes are taken: 1 or 2.
    min_power : float
        Least power before the logarithm.
    ref_power : float
        What is 0 dB.
    mel_scale : {"htk", "slaney"}
        "htk" as in Keras, where the sides of the filters are straight in mel; "slaney" as in librosa.
    norm : {None, "slaney"}
        Filters of height 1, or of equal area.
    """

    def __init__(
        self,
        fft_length: int = 2048,
        sequence_stride: int = 512,
        sequence_length: int | None = None,
        window: Any = "hann",
        sampling_rate: int = 16000,
        num_mel_bins: int = 128,
        min_freq: float = 20.0,
        max_freq: float | None = None,
        power_to_db: bool = True,
        top_db: float = 80.0,
        mag_exp: float = 2.0,
        min_power: float = 1e-10,
        ref_power: float = 1.0,
        mel_scale: str = "htk",
        norm: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        what = "MelSpectrogram"
        self.fft_length = positive(fft_length, f"{what}: fft_length")
        self.sequence_stride = positive(sequence_stride, f"{what}: sequence_stride")
        length = self.fft_length if sequence_length is None else sequence_length
        self.sequence_length = positive(length, f"{what}: sequence_length")
        if self.sequence_length > self.fft_length:
            raise ValueError(f"{what}: sequence_length: expected at most {self.fft_length}, got {sequence_length}")
        self.sampling_rate = positive(sampling_rate, f"{what}: sampling_rate")
        self.num_mel_bins = positive(num_mel_bins, f"{what}: num_mel_bins")
        self.min_freq = number(min_freq, f"{what}: min_freq")
        self.max_freq = number(max_freq or self.sampling_rate // 2, f"{what}: max_freq", above=self.min_freq)
        self.power_to_db, self.top_db = bool(power_to_db), number(top_db, f"{what}: top_db")
        self.mag_exp = number(mag_exp, f"{what}: mag_exp", above=0)
        self.min_power = number(min_power, f"{what}: min_power", above=0)
        self.ref_power = number(ref_power, f"{what}: ref_power")
        if mel_scale not in ("htk", "slaney"):
            raise ValueError(f"{what}: mel_scale: expected 'htk' or 'slaney', got {short(mel_scale)}")
        self.window = window if isinstance(window, str) else np.asarray(window, np.float64).tolist()
        audio.get_window(window, self.sequence_length)
        self.mel_scale, self.norm = mel_scale, norm
        self._filters = audio.mel_filterbank(
            self.sampling_rate, self.fft_length, self.num_mel_bins, self.min_freq, self.max_freq, mel_scale == "htk",
            norm, self.compute_dtype, "mel" if mel_scale == "htk" else "hz",
        )  # fmt: skip

    def call(self, inputs: Tensor) -> Tensor:
        if len(inputs.shape) not in (1, 2):
            raise ValueError(f"{self.name}: inputs: expected signals (n, samples), got shape {tuple(inputs.shape)}")
        if inputs.shape[-1] <= self.fft_length // 2:
            raise ValueError(
                f"{self.name}: inputs: expected more than {self.fft_length // 2} samples, half of fft_length, "
                f"got {inputs.shape[-1]}"
            )
        magnitude = np.abs(
            audio.stft(inputs.numpy(), self.fft_length, self.sequence_stride, self.sequence_length, self.window, True,
                       "reflect")
        )  # fmt: skip
        mel = self._filters @ magnitude**self.mag_exp
        if not self.power_to_db:
            return wrap(mel.astype(self.compute_dtype))
        return wrap(audio.power_to_db(mel, self.ref_power, self.min_power, self.top_db).astype(self.compute_dtype))

    def compute_output_shape(self, input_shape: Any) -> Any:
        *rest, samples = input_shape
        return (*rest, self.num_mel_bins, None if samples is None else math.ceil((samples + 1) / self.sequence_stride))

    def get_config(self) -> dict[str, Any]:
        names = (
            *(
                "fft_length",
                "sequence_stride",
                "sequence_length",
                "window",
                "sampling_rate",
                "num_mel_bins",
                "min_freq",
            ),
            *("max_freq", "power_to_db", "top_db", "mag_exp", "min_power", "ref_power", "mel_scale", "norm"),
        )
        return {**super().get_config(), **{n: getattr(self, n) for n in names}}
