"""A data set of tensorflow-datasets, prepared here; nothing is downloaded."""

import numpy as np
import pytest

import tfxp
from tfxp.errors import DataError, DependencyError
from tfxp.streams import tfds_source

try:
    import tensorflow_datasets as tfds
except ImportError:
    tfds = None


@pytest.mark.skipif(tfds is not None, reason="tensorflow-datasets is installed")
def test_the_extra_is_named():
    with pytest.raises(DependencyError, match=r'Install it by `pip install "tfxp\[tfds\]"`'):
        tfds_source.tfds_source("tfds:mnist", "train")


@pytest.mark.skipif(tfds is None, reason="needs tensorflow-datasets: pip install tfxp[tfds]")
def test_a_prepared_set(tmp_path, monkeypatch):
    class TinyDigits(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {"image": tfds.features.Image(shape=(4, 4, 1)), "label": np.int64}
            return self.dataset_info_from_configs(
                features=tfds.features.FeaturesDict(features), supervised_keys=("image", "label")
            )

        def _split_generators(self, manager):
            return {"train": self._generate_examples(12), "test": self._generate_examples(5)}

        def _generate_examples(self, count):
            for i in range(count):
                yield i, {"image": np.full((4, 4, 1), i, np.uint8), "label": i % 3}

    TinyDigits(data_dir=str(tmp_path)).download_and_prepare()
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    source = tfxp.open_data("tfds:tiny_digits/1.0.0", {"x": (4, 4)}, split="train")
    batch = next(source.batches(20))
    assert source.samples == 12 and batch.inputs[0].shape == (12, 4, 4)
    np.testing.assert_array_equal(batch.inputs[0][:, 0, 0] % 3, batch.y)
    assert tfxp.open_data("tfds:tiny_digits/1.0.0").samples == 5
    with pytest.raises(DataError, match="cannot be read.*tfds build"):
        tfxp.open_data("tfds:no_such_set")
