"""Every kind of source: the samples as they are, and one sentence for everything that is wrong."""

import json

import numpy as np
import pytest

import tfxp
from tfxp.data import Preprocessing
from tfxp.data.preprocessing import AudioSteps, Feature, ImageSteps, TableColumns
from tfxp.errors import ConfigError, DataError
from tfxp.keras import tf
from tfxp.streams.audio_folder import mfcc

SMALL = Preprocessing(ImageSteps(resize=(8, 8)))
FEATURES = {"v": Feature((2,)), "label": Feature((), "int64", role="y")}


def all_of(source, size=4):
    batches = list(source.batches(size))
    y = [batch.y for batch in batches]
    return np.concatenate([batch.inputs[0] for batch in batches]), y and np.concatenate(y)


@pytest.fixture
def pictures(tmp_path):
    """Two classes of three pictures, each of one grey; the sizes differ."""
    for label, name in enumerate(("cat", "dog")):
        for number in range(3):
            grey = np.full((10 + number, 12, 3), 100 * label + 10 * number, np.uint8)
            tf.io.write_file(f"{tmp_path}/set/{name}/{number}.png", tf.io.encode_png(grey))
    return tmp_path / "set"


@pytest.fixture
def write_records(tmp_path):
    def write(missing=(), name="a.tfrecord", count=5):
        with tf.io.TFRecordWriter(str(tmp_path / name)) as writer:
            for i in range(count):
                floats = tf.train.FloatList(value=[i, -i])
                feature = {"v": tf.train.Feature(float_list=floats)}
                if i not in missing:
                    numbers = tf.train.Int64List(value=[i])
                    feature["label"] = tf.train.Feature(int64_list=numbers)
                example = tf.train.Example(features=tf.train.Features(feature=feature))
                writer.write(example.SerializeToString())
        return str(tmp_path / name)

    return write


def test_pictures_by_class(pictures):
    source = tfxp.open_data(pictures, {"x": (8, 8, 3)}, preprocessing=SMALL)
    x, y = all_of(source)
    assert source.samples == 6
    assert sorted(zip(x[:, 0, 0, 0], y, strict=True)) == [
        (0, 0), (10, 0), (20, 0), (100, 1), (110, 1), (120, 1)
    ]  # fmt: skip
    again = all_of(tfxp.open_data(pictures, preprocessing=SMALL), size=1)
    np.testing.assert_array_equal(x, again[0])


def test_crops_and_shorter_sides(tmp_path):
    ramp = np.repeat(np.arange(40, dtype=np.uint8)[None, :, None], 20, axis=0)
    tf.io.write_file(f"{tmp_path}/a/1.png", tf.io.encode_png(ramp))
    steps = Preprocessing(ImageSteps(resize=20, crop=(10, 10), channels=1))
    x, _ = all_of(tfxp.open_data(tmp_path, {"x": (10, 10, 1)}, preprocessing=steps))
    np.testing.assert_array_equal(x[0, 0, :, 0], np.arange(15, 25))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("cat/1.png", b"\x89PNG broken", r"file '.*cat/1.png' .*: cannot be read"),
        ("bird/read.me", b"x", r"folder '.*bird': got no pictures"),
    ],
)
def test_damaged_folders(pictures, name, content, message):
    (pictures / name).parent.mkdir(exist_ok=True)
    (pictures / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        all_of(tfxp.open_data(pictures, preprocessing=SMALL))


def test_pictures_of_another_size(pictures):
    with pytest.raises(DataError, match=r"file '.*png' .*got shape \(1., 12, 3\); expected \(8, 8"):
        all_of(tfxp.open_data(pictures, {"x": (8, 8, 3)}))
    with pytest.raises(DataError, match=r"file .*got shapes .*as in the samples before"):
        all_of(tfxp.open_data(pictures))


def test_records(write_records):
    path, steps = write_records(), Preprocessing(features=FEATURES)
    source = tfxp.open_data(path, {"x": (2,)}, preprocessing=steps)
    x, y = all_of(source)
    np.testing.assert_array_equal(x, [[i, -i] for i in range(5)])
    np.testing.assert_array_equal(y, np.arange(5))
    assert source.samples is None and source.with_count().samples == 5
    write_records(name="b.tfrecord", count=2)
    several = tfxp.open_data(path.replace("a.tf", "*.tf"), preprocessing=steps)
    np.testing.assert_array_equal(all_of(several)[1], [0, 1, 2, 3, 4, 0, 1])


def test_damaged_records(write_records):
    steps = Preprocessing(features=FEATURES)
    path = write_records(missing=[3])
    with pytest.raises(DataError, match=r"record 3 of file '.*a.tfrecord'.*label .*required"):
        all_of(tfxp.open_data(path, preprocessing=steps))
    with open(path, "r+b") as file:
        file.truncate(100)
    with pytest.raises(DataError, match=r"cannot be read \(truncated record"):
        all_of(tfxp.open_data(path, preprocessing=steps))
    with pytest.raises(DataError, match="no input among them; expected one. Describe them"):
        tfxp.open_data(path)


def test_tables(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,id,price,b\n1,7,10,2\n3,8,20,4\n")
    steps = Preprocessing(table=TableColumns("price", ("id",)))
    source = tfxp.open_data(path, {"x": (2,)}, preprocessing=steps)
    x, y = all_of(source)
    np.testing.assert_array_equal(x, [[1, 2], [3, 4]])
    np.testing.assert_array_equal(y, [10, 20])
    path.write_text("a,y\n1,2\n,4\n")
    with pytest.raises(DataError, match="line 3 of table .*cannot be read"):
        all_of(tfxp.open_data(path))
    path.write_text("1,2\n3,4\n")
    with pytest.raises(DataError, match="expected the names of its columns"):
        tfxp.open_data(path)
    with pytest.raises(DataError, match="got a, y; expected also price, id"):
        path.write_text("a,y\n1,2\n")
        tfxp.open_data(path, preprocessing=steps)


def test_memory_maps(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(20, dtype=np.float32).reshape(10, 2))
    np.save(tmp_path / "y.npy", np.arange(10))
    source = tfxp.open_data(tmp_path / "x.npy", {"x": (2, 1)})
    x, y = all_of(source)
    assert x.shape == (10, 2, 1) and y.tolist() == list(range(10))
    bad = np.zeros((10, 2), np.float32)
    bad[7] = np.nan
    np.save(tmp_path / "x.npy", bad)
    with pytest.raises(DataError, match="got NaN or infinity in sample 7"):
        all_of(tfxp.open_data(tmp_path / "x.npy"))
    with pytest.raises(DataError, match="got NaN or infinity in sample 7"):
        list(tfxp.open_data(tmp_path / "x.npy").shuffled(2, seed=1))
    np.save(tmp_path / "y.npy", np.arange(9))
    with pytest.raises(DataError, match="got 10 inputs and 9 answers"):
        tfxp.open_data(tmp_path / "x.npy")


def _numbers(count):
    def generate():
        for i in range(count):
            yield np.full(3, i, np.float32), i

    spec = tf.TensorSpec(3), tf.TensorSpec((), tf.int64)
    return tf.data.Dataset.from_generator(generate, output_signature=spec)


@pytest.mark.parametrize("batch", [0, 4])
def test_data_sets_batched_or_not(batch):
    data = _numbers(6).batch(batch) if batch else _numbers(6)
    source = tfxp.open_data(data, {"x": (3,)})
    x, y = all_of(source, size=4)
    np.testing.assert_array_equal(x[:, 0], np.arange(6))
    np.testing.assert_array_equal(y, np.arange(6))


def test_data_sets_of_dicts():
    data = tf.data.Dataset.from_tensors({"b": [1.0, 2.0], "a": [3.0], "label": 4}).repeat()
    source = tfxp.open_data(data, {"a": (1,), "b": (2,)}, steps=3)
    batch = next(source.batches(8))
    assert [part.tolist() for part in batch.inputs] == [[[3.0]] * 3, [[1.0, 2.0]] * 3]
    assert batch.y.tolist() == [4, 4, 4]


def test_ends():
    with pytest.raises(DataError, match="without an end; expected a number of batches"):
        tfxp.open_data(_numbers(6).repeat(), {"x": (3,)})
    with pytest.raises(DataError, match="ended after 6 samples; expected 9"):
        all_of(tfxp.open_data(_numbers(6), {"x": (3,)}, steps=9))


def test_a_shuffle_is_the_same_and_goes_on_where_it_stopped():
    data = tfxp.open_data(_numbers(40), {"x": (3,)}).with_count()
    whole = [batch.y.tolist() for batch in data.shuffled(4, seed=3)]
    assert whole == [batch.y.tolist() for batch in data.shuffled(4, seed=3)]
    assert sorted(sum(whole, [])) == list(range(40)) != sum(whole, [])
    assert [batch.y.tolist() for batch in data.shuffled(4, seed=3, start=12)] == whole[3:]
    shards = [
        [int(n) for batch in data.shuffled(4, seed=3, shard=(i, 2)) for n in batch.y]
        for i in (0, 1)
    ]
    assert sorted(shards[0] + shards[1]) == list(range(40))


def test_parts_and_cache(tmp_path):
    data = tfxp.open_data(_numbers(10), {"x": (3,)}).with_count()
    assert all_of(data.skip(7))[1].tolist() == [7, 8, 9]
    assert all_of(data.take(2))[1].tolist() == [0, 1]
    cached = data.cached(str(tmp_path))
    first, second = all_of(cached), all_of(cached)
    np.testing.assert_array_equal(first[0], second[0])
    assert any(tmp_path.iterdir())
    assert data.in_memory(4).y.tolist() == [0, 1, 2, 3]


def test_coefficients_of_sounds(tmp_path):
    steps = AudioSteps(rate=8000, samples=4000, frame=320, step=160, mels=20)
    wave = np.sin(np.arange(4000) / 5).astype(np.float32) * 0.5
    for name in ("yes", "no"):
        coded = tf.audio.encode_wav(wave[:, None], 8000)
        tf.io.write_file(f"{tmp_path}/set/{name}/1.wav", coded)
    x, y = all_of(tfxp.open_data(tmp_path / "set", preprocessing=Preprocessing(audio=steps)))
    assert x.shape == (2, 24, 10) and sorted(y) == [0, 1]
    quiet = mfcc(np.zeros(4000, np.float32), steps).numpy()
    np.testing.assert_allclose(quiet[:, 0], np.log(1e-6) * 20 * np.sqrt(2 / 20), rtol=1e-4)
    with pytest.raises(DataError, match=r"1.wav' .*cannot be read \(its rate is not 16000"):
        all_of(tfxp.open_data(tmp_path / "set"))


def test_preprocessing_is_checked(tmp_path):
    path = tmp_path / "steps.json"
    for content, message in (
        ({"schema": 2}, "expected an object of schema 1"),
        ({"schema": 1, "imge": {}}, "got 'imge'.*Did you mean 'image'"),
        ({"schema": 1, "image": {"resize": [0, 4]}}, "expected two positive whole numbers"),
        ({"schema": 1, "image": {"method": "best"}}, "expected one of"),
        ({"schema": 1, "audio": {"frame": 99999}}, "frame <= samples"),
        ({"schema": 1, "features": {"a": {"role": "z"}}}, "expected one of x, y, weights"),
        ({"schema": 1, "scale": 0}, "factors other than 0"),
    ):
        path.write_text(json.dumps(content))
        with pytest.raises(ConfigError, match=message):
            Preprocessing.load(path)


def test_nothing_to_read(tmp_path):
    for path, message in (
        (tmp_path, "got no pictures or WAV files"),
        (tmp_path / "absent.npz", "got no such file"),
        (tmp_path / "*.tfrecord", "got no such files"),
    ):
        with pytest.raises(DataError, match=message):
            tfxp.open_data(path)
    with pytest.raises(DataError, match="labels of data: got none"):
        tfxp.open_data(np.zeros((3, 2)), labels=True)
