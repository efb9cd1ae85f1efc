"""Folders of WAV files by class, as mel-frequency cepstral coefficients."""

from __future__ import annotations

import os
from typing import Any

from tfxp.data.preprocessing import AudioSteps
from tfxp.keras import tf
from tfxp.streams.class_folders import ClassFolders
from tfxp.streams.stream import Element, Stream

ENDINGS = (".wav",)


def audio_folder(path: str, steps: AudioSteps | None = None) -> Stream:
    """WAV files below one folder a class; an input is (frames, coefficients) of one file.

    Args:
        path: the folder.
        steps: how coefficients are computed; by default as `AudioSteps` says.

    Raises:
        DataError: no class folders, or one without WAV files.
    """
    found, how = ClassFolders.of(path, ENDINGS, "WAV files"), steps or AudioSteps()

    def read(file: tf.Tensor, label: tf.Tensor) -> Element:
        wave, rate = tf.audio.decode_wav(tf.io.read_file(file), 1, how.samples)
        message = f"its rate is not {how.rate} samples a second"
        with tf.control_dependencies([tf.debugging.assert_equal(rate, how.rate, message)]):
            wave = tf.identity(wave[:, 0])
        return {"x": (mfcc(wave, how),), "y": label}

    return Stream(
        f"folder {os.fspath(path)!r}", found.keys, read, len(found.files), found.where, light=True
    )


def mfcc(wave: tf.Tensor, steps: AudioSteps) -> Any:
    """Mel-frequency cepstral coefficients of samples from -1 to 1: (frames, coefficients)."""
    spectrum = tf.abs(tf.signal.stft(wave, steps.frame, steps.step))
    bands = tf.signal.linear_to_mel_weight_matrix(
        steps.mels, spectrum.shape[-1], steps.rate, steps.low, steps.high
    )
    logs = tf.math.log(tf.tensordot(spectrum, bands, 1) + 1e-6)
    return tf.signal.mfccs_from_log_mel_spectrograms(logs)[..., : steps.coefficients]
