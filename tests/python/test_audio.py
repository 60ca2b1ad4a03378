"""Wav files, spectrograms, mel filters, MFCC."""

import io
import os
import struct
import tarfile

import numpy as np
import pytest

from lamella import audio, layers, models

RATE = 8000
SPEECH = os.path.join(os.environ.get("LAMELLA_TEST_DATA", "nowhere"), "fsdd-5-speakers.tar.xz")


def tone(*hertz, seconds=0.5, rate=RATE):
    t = np.arange(int(seconds * rate)) / rate
    return sum(np.sin(2 * np.pi * f * t) for f in hertz).astype(np.float32) / len(hertz)


def wav(kind, bits, channels, body, rate=RATE, extra=b""):
    frame = channels * bits // 8
    fmt = struct.pack("<HHIIHH", kind, channels, rate, rate * frame, frame, bits)
    chunks = b"fmt " + struct.pack("<I", len(fmt)) + fmt + extra + b"data" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WAVE" + chunks


@pytest.mark.parametrize(
    "kind,bits,body,expected",
    [
        (1, 8, bytes([0, 128, 255]), [-1, 0, 127 / 128]),
        (1, 16, struct.pack("<3h", -32768, 0, 16384), [-1, 0, 0.5]),
        (1, 24, b"\x00\x00\x80" + b"\x00\x00\x00" + b"\x00\x00\x40", [-1, 0, 0.5]),
        (1, 32, struct.pack("<3i", -(2**31), 0, 2**30), [-1, 0, 0.5]),
        (3, 32, struct.pack("<3f", -1.5, 0, 0.25), [-1.5, 0, 0.25]),
        (3, 64, struct.pack("<3d", -1.5, 0, 0.25), [-1.5, 0, 0.25]),
    ],
)
def test_kinds_of_wav_files(tmp_path, kind, bits, body, expected):
    path = tmp_path / "a.wav"
    path.write_bytes(wav(kind, bits, 1, body, extra=b"LIST" + struct.pack("<I", 3) + b"abc\0"))
    signal, rate = audio.read_wav(path)
    assert rate == RATE and signal.dtype == np.float32
    np.testing.assert_allclose(signal, expected, rtol=0, atol=1e-7)
    path.write_bytes(wav(kind, bits, 3, body))
    assert audio.read_wav(path, np.float64)[0].shape == (1, 3)
    with path.open("rb") as file:
        np.testing.assert_array_equal(audio.read_wav(file)[0], audio.read_wav(path)[0])


def test_wav_round_trip(tmp_path):
    stereo = np.stack([tone(440), tone(100)], 1) * 0.9
    audio.write_wav(tmp_path / "b.wav", stereo, 22050)
    signal, rate = audio.read_wav(str(tmp_path / "b.wav"))
    assert rate == 22050 and signal.shape == stereo.shape
    np.testing.assert_allclose(signal, stereo, rtol=0, atol=2.0**-16 + 1e-7)


@pytest.mark.parametrize(
    "data,text",
    [
        (b"RIFX", "expected a RIFF WAVE file"),
        (wav(1, 12, 1, b"ab"), "got format 1 of 12 bits"),
        (wav(2, 16, 1, b"ab"), "got format 2 of 16 bits"),
        (wav(1, 16, 1, b"ab")[:36], "expected a data chunk"),
    ],
)
def test_bad_wav_files(tmp_path, data, text):
    (tmp_path / "x.wav").write_bytes(data)
    with pytest.raises(ValueError, match=text):
        audio.read_wav(tmp_path / "x.wav")
    with pytest.raises(ValueError, match=text):
        audio.read_wav(io.BytesIO(data))
    with pytest.raises(TypeError, match="open for bytes"):
        audio.read_wav(io.StringIO("RIFF"))


def test_windows():
    np.testing.assert_allclose(audio.get_window("hann", 4), [0, 0.5, 1, 0.5], atol=1e-15)
    np.testing.assert_allclose(audio.get_window("hann", 9, periodic=False), np.hanning(9), atol=1e-12)
    np.testing.assert_allclose(audio.get_window("hamming", 9, periodic=False), np.hamming(9), atol=1e-12)
    np.testing.assert_allclose(audio.get_window("blackman", 9, periodic=False), np.blackman(9), atol=1e-12)
    assert audio.get_window("boxcar", 3).tolist() == [1, 1, 1] and audio.get_window("hann", 1).tolist() == [1]
    with pytest.raises(ValueError, match="window: expected one of"):
        audio.get_window("kaiser", 4)


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("win_length", [None, 50])
def test_stft_is_the_sum_it_says(center, win_length):
    y = np.random.default_rng(0).standard_normal((2, 300))
    got = audio.stft(y, 64, 20, win_length, "hann", center, "reflect")
    padded = np.pad(y, ((0, 0), (32, 32)), "reflect") if center else y
    window = np.zeros(64)
    length = win_length or 64
    window[(64 - length) // 2 :][:length] = audio.get_window("hann", length)
    n = np.arange(64)
    for frame in (0, 3, got.shape[-1] - 1):
        part = padded[:, frame * 20 : frame * 20 + 64] * window
        for k in (0, 5, 32):
            np.testing.assert_allclose(got[:, k, frame], (part * np.exp(-2j * np.pi * k * n / 64)).sum(1), atol=1e-12)
    assert got.shape == (2, 33, 1 + (padded.shape[1] - 64) // 20) and got.dtype == np.complex128
    assert audio.stft(y.astype(np.float32), 64).dtype == np.complex64


@pytest.mark.parametrize("htk", [False, True])
def test_mel_scales(htk):
    f = np.array([0.0, 100, 999, 1000, 1001, 4000])
    np.testing.assert_allclose(audio.mel_to_hz(audio.hz_to_mel(f, htk), htk), f, atol=1e-9)
    # From the definitions: 1000 Hz is 15 mel of Slaney's, 6400 Hz 27 steps further; HTK's are 1000 mel (to 0.02).
    if htk:
        assert audio.hz_to_mel(1000, True) == pytest.approx(1000, abs=0.02)
    else:
        assert audio.hz_to_mel(1000) == pytest.approx(15) and audio.hz_to_mel(6400) == pytest.approx(42)


def test_filters():
    for htk in (False, True):
        filters = audio.mel_filterbank(RATE, 512, 20, htk=htk, norm=None)
        assert filters.shape == (20, 257) and (filters >= 0).all() and filters.max() <= 1
        # Neighbouring triangles without norm add up to 1 between the outermost centres.
        inside = slice(int(filters[0].argmax()) + 1, int(filters[-1].argmax()))
        np.testing.assert_allclose(filters.sum(0)[inside], 1, atol=1e-6)
    area = audio.mel_filterbank(RATE, 1 << 14, 20).sum(1) * RATE / (1 << 14)
    np.testing.assert_allclose(area, 1, rtol=0.02)
    with pytest.raises(ValueError, match="fmin < fmax"):
        audio.mel_filterbank(RATE, 512, fmin=4000)
    with pytest.raises(ValueError, match="norm"):
        audio.mel_filterbank(RATE, 512, norm="l2")


def test_a_tone_is_where_it_belongs():
    for hertz in (300, 1000, 2500):
        mel = audio.melspectrogram(tone(hertz), RATE, 1024, 256, n_mels=40)
        edges = audio.mel_to_hz(np.linspace(0, audio.hz_to_mel(RATE / 2), 42))
        band = mel.mean(1).argmax()
        assert edges[band] < hertz < edges[band + 2]


def test_decibels():
    power = np.array([1.0, 10, 1e-3, 0])
    np.testing.assert_allclose(audio.power_to_db(power, top_db=None), [0, 10, -30, -100])
    np.testing.assert_allclose(audio.power_to_db(power, ref=np.max), [-10, 0, -40, -80])
    np.testing.assert_allclose(audio.amplitude_to_db([1.0, 10, 1e-3]), [0, 20, -60])
    for kwargs in ({"amin": 0}, {"top_db": -1}):
        with pytest.raises(ValueError, match=next(iter(kwargs))):
            audio.power_to_db(power, **kwargs)


def test_mfcc():
    matrix = audio.dct_matrix(30, 30)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(30), atol=1e-12)
    y = tone(300, 700)
    S = audio.power_to_db(audio.melspectrogram(y, RATE))
    got = audio.mfcc(y, RATE, n_mfcc=13)
    np.testing.assert_allclose(got, audio.dct_matrix(13, 128).astype(np.float32) @ S, rtol=1e-5, atol=1e-3)
    lifted = audio.mfcc(S=S, n_mfcc=13, lifter=22)
    lift = 1 + 11 * np.sin(np.pi * np.arange(1, 14) / 22)
    np.testing.assert_allclose(lifted, got * lift[:, None], rtol=1e-4, atol=1e-3)
    with pytest.raises(ValueError, match="y, S: expected one"):
        audio.mfcc()
    with pytest.raises(ValueError, match="at most 128"):
        audio.mfcc(y, RATE, n_mfcc=129)
    with pytest.raises(TypeError, match="hop_length"):
        audio.mfcc(S=S, hop_length=3)


def test_refused():
    with pytest.raises(ValueError, match="at least n_fft"):
        audio.stft(tone(300)[:10], 64, center=False)
    with pytest.raises(ValueError, match="win_length: expected at most"):
        audio.stft(tone(300), 64, win_length=65)
    with pytest.raises(ValueError, match="hop_length: expected a positive"):
        audio.stft(tone(300), 64, 0)


def test_the_layer():
    x = np.stack([tone(300), tone(1500)])
    layer = layers.MelSpectrogram(256, 100, sampling_rate=RATE, num_mel_bins=24)
    got = layer(x).numpy()
    assert got.shape == layer.compute_output_shape(x.shape) == (2, 24, 41)
    assert got[0].mean(1).argmax() < got[1].mean(1).argmax() and got.max() - got.min() <= 80.001
    np.testing.assert_array_equal(layers.MelSpectrogram.from_config(layer.get_config())(x).numpy(), got)
    assert layer(x[0]).shape == (24, 41)
    settings = {"num_mel_bins": 24, "power_to_db": False, "mel_scale": "slaney", "norm": "slaney", "min_freq": 0}
    plain = layers.MelSpectrogram(256, 100, 200, sampling_rate=RATE, **settings)(x)
    np.testing.assert_allclose(
        plain.numpy(), audio.melspectrogram(x, RATE, 256, 100, 200, pad_mode="reflect", n_mels=24), rtol=1e-4, atol=1e-5
    )
    for kwargs in ({"sequence_length": 300}, {"max_freq": 10.0}, {"mel_scale": "x"}, {"num_mel_bins": 0}):
        with pytest.raises(ValueError, match=next(iter(kwargs))):
            layers.MelSpectrogram(**{"fft_length": 256, **kwargs})
    with pytest.raises(ValueError, match="more than 128 samples"):
        layer(x[:, :100])


def test_in_a_model():
    x = np.stack([tone(200 + 100 * (i % 2) + i) for i in range(20)])
    y = np.arange(20) % 2
    model = models.Sequential([
        layers.MelSpectrogram(256, 400, sampling_rate=RATE, num_mel_bins=16, input_shape=x.shape[1:]),
        layers.Flatten(), layers.Dense(2, activation="softmax"),
    ])  # fmt: skip
    model.compile("adam", "sparse_categorical_crossentropy")
    history = model.fit(x, y, epochs=2, batch_size=10, verbose=0).history["loss"]
    assert np.isfinite(history).all() and model.predict(x).shape == (20, 2)


@pytest.mark.skipif(not os.path.exists(SPEECH), reason="the spoken digits are not here")
def test_real_speech(tmp_path):
    with tarfile.open(SPEECH) as f:
        member = next(m for m in f if m.name.endswith(".wav"))
        (tmp_path / "digit.wav").write_bytes(f.extractfile(member).read())
    signal, rate = audio.read_wav(tmp_path / "digit.wav")
    assert rate == 8000 and signal.ndim == 1 and 0.05 < np.abs(signal).max() <= 1
    assert np.isfinite(audio.mfcc(signal, rate, n_fft=256, hop_length=80, n_mels=40)).all()
