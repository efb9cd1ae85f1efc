"""Data files: what is read, and one sentence for everything that is wrong."""

import re

import numpy as np
import pytest

from tfxp.data import Dataset, load_digits, load_npz
from tfxp.errors import DataError


@pytest.fixture
def save(tmp_path):
    def save(**arrays):
        np.savez_compressed(tmp_path / "data.npz", **arrays)
        return tmp_path / "data.npz"

    return save


X = np.arange(24, dtype=np.float32).reshape(6, 4)
Y = np.arange(6)


def test_plain_file(save):
    data = load_npz(save(x=X, y=Y), limit=4)
    np.testing.assert_array_equal(data.x, X[:4])
    np.testing.assert_array_equal(data.y, Y[:4])
    assert load_npz(save(x=X)).y is None
    assert len(load_npz(save(x=X), limit=100)) == 6


@pytest.mark.parametrize(
    ("split", "default", "expected"),
    [("train", "test", 6), ("test", "train", 2), (None, "train", 6), (None, "test", 2)],
)
def test_splits(save, split, default, expected):
    path = save(x_train=X, y_train=Y, x_test=X[:2], y_test=Y[:2])
    assert len(load_npz(path, split=split, default_split=default)) == expected


def _nan(array):
    return np.where(array == 5, np.nan, array)


@pytest.mark.parametrize(
    ("arrays", "arguments", "message"),
    [
        (dict(images=X), {}, r"got images; expected x or x_test"),
        (dict(x=X, y=Y), dict(split="test"), r"got x, y; expected x_test. Leave the split away"),
        (dict(x_train=X), dict(split="test"), r"got x_train; expected x_test"),
        (dict(x=X), dict(labels=True), r"labels of .*: got arrays x; expected also y"),
        (dict(x=_nan(X), y=Y), {}, r"x of .*: got 1 values that are not finite"),
        (dict(x=X, y=_nan(Y)), {}, r"y of .*: got 1 values that are not finite"),
        (dict(x=X[:0], y=Y[:0]), {}, r"x of .*: got shape \(0, 4\); expected at least one"),
        (dict(x=X, y=Y[:3]), {}, r"got 6 inputs and 3 labels"),
        (dict(x=np.float32(1)), {}, r"got shape \(\)"),
        (dict(x=np.array(["a", "b"])), {}, r"got type <U1; expected numbers"),
        (dict(x=np.array([1, None])), {}, r"cannot be read"),
        (dict(x=X, y=Y), dict(limit=0), r"limit: got 0"),
        (dict(x=X, y=Y), dict(split="both"), r"got 'both'; expected train or test"),
    ],
)
def test_one_sentence_each(save, arrays, arguments, message):
    with pytest.raises(DataError, match=message) as caught:
        load_npz(save(**arrays), **arguments)
    assert "\n" not in str(caught.value)


def test_no_file_and_no_archive(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        load_npz(tmp_path / "absent.npz")
    for name, content in [("text.npz", b"hello"), ("empty.npz", b"")]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match="no .npz archive"):
            load_npz(tmp_path / name)
    np.save(tmp_path / "array.npy", X)
    with pytest.raises(DataError, match="no .npz archive"):
        load_npz(tmp_path / "array.npy")


def test_every_truncation_is_told(save):
    whole = save(x=X, y=Y).read_bytes()
    for size in range(0, len(whole), 7):
        path = save(x=X)
        path.write_bytes(whole[:size])
        with pytest.raises(DataError):
            load_npz(path)


def test_every_flipped_byte_reads_or_is_told(save):
    path = save(x=X, y=Y)
    whole = path.read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        try:
            load_npz(path)
        except DataError as error:
            assert "\n" not in str(error)


def test_scaling_is_float32(rng):
    x = rng.integers(0, 256, (5, 3)).astype(np.uint8)
    expected = x.astype(np.float32) * np.float32(1 / 255) + np.float32(-0.5)
    np.testing.assert_array_equal(Dataset(x).inputs(1 / 255, -0.5), expected)
    with pytest.raises(DataError, match="not finite"), np.errstate(over="ignore"):
        Dataset(x).inputs(1e38)


@pytest.mark.parametrize(
    ("have", "want"),
    [((28, 28), (28, 28, 1)), ((4, 4, 1), (4, 4)), ((4, 4), (16,)), ((8, 8, 3), (None, None, 3))],
)
def test_shapes_that_agree(have, want):
    got = Dataset(np.zeros((2, *have))).shaped(want).x.shape[1:]
    assert all(n in (None, g) for g, n in zip(got, want, strict=True))


@pytest.mark.parametrize(
    ("have", "want"),
    [((3, 8, 8), (8, 8, 3)), ((28, 28), (32, 32, 1)), ((16,), (4, 4)), ((8, 8), (None, None, 1))],
)
def test_shapes_that_do_not(have, want):
    with pytest.raises(DataError, match="shape of data"):
        Dataset(np.zeros((2, *have))).shaped(want)


def test_labels_in_every_form():
    classes = np.array([2, 0, 1])
    for y in (classes, classes[:, None], classes.astype(float), np.eye(3)[classes]):
        np.testing.assert_array_equal(Dataset(np.zeros((3, 1)), y).labels(3), classes)
    for y in (np.array([0.5, 1, 2]), np.array([0, 1, 3]), np.array([-1, 0, 1]), None):
        with pytest.raises(DataError, match="labels of data"):
            Dataset(np.zeros((3, 1)), y).labels(3)


@pytest.mark.parametrize(
    ("y", "classes", "said"),
    [
        ([0, 1, 3], 3, "got class 3 in sample 12 (counted from 0); expected 0 … 2, one for each"),
        ([-1, 0, 4], 3, "got class -1 in sample 10 (counted from 0), and 1 more out of range; exp"),
        ([3], 3, "got class 3 in sample 10 (counted from 0); expected 0 … 2, one for each"),
        ([5, -2], None, "got class -2 in sample 11 (counted from 0); expected 0 or more. Number"),
    ],
)
def test_wrong_label_is_named(y, classes, said):
    data = Dataset(np.zeros((len(y), 1)), np.array(y))
    with pytest.raises(DataError, match=re.escape(said)):
        data.labels(classes, first=10)
    with pytest.raises(DataError, match="Number the classes from 0"):
        data.labels(classes)


def test_digits_are_split_without_overlap():
    train, test = load_digits("train"), load_digits("test")
    assert (len(train), len(test)) == (1437, 360)
    assert train.x.min() == 0 and train.x.max() == 1
    assert set(test.labels()) == set(range(10))
    rows = {image.tobytes() for image in train.x}
    assert sum(image.tobytes() in rows for image in test.x) == 0
    with pytest.raises(DataError, match="expected train or test"):
        load_digits("validation")
