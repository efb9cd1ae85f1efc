"""Samples go to the inputs they are named after, whatever form they come in."""

import itertools

import numpy as np
import pytest

from tfxp.data import ModelData
from tfxp.data.named_inputs import InputSignature, ordered_inputs
from tfxp.errors import DataError

NAMES = ("zeta", "alpha", "mid")
WIDTHS = {"zeta": 3, "alpha": 3, "mid": 2}


@pytest.fixture
def arrays(rng):
    return {name: rng.normal(size=(7, width)) for name, width in WIDTHS.items()}


class Stream:
    """Batches by number, as keras.utils.Sequence has them."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


def signature(**fields):
    return InputSignature(NAMES, tuple((WIDTHS[name],) for name in NAMES), **fields)


def test_every_order_of_a_dict_and_every_form_gives_the_same(arrays):
    wanted = [arrays[name] for name in NAMES]
    forms = [{name: arrays[name] for name in order} for order in itertools.permutations(NAMES)]
    forms += [wanted, tuple(wanted)]
    halves = [{k: v[s] for k, v in arrays.items()} for s in (slice(0, 4), slice(4, 7))]
    forms += [Stream(halves), Stream([(half, np.arange(3)) for half in halves])]
    for data in forms:
        got = signature().arrays(data)
        assert all(np.array_equal(a, b) for a, b in zip(got, wanted, strict=True))
    for data in forms[:-2]:
        got = ModelData.of((data, None), NAMES).x
        assert all(np.array_equal(a, b) for a, b in zip(got, wanted, strict=True))


def test_keys_of_the_model_stand_for_its_inputs(arrays):
    renamed = {"z": arrays["zeta"], "alpha": arrays["alpha"], "mid": arrays["mid"]}
    got = signature(keys={"z": "zeta", "alpha": "alpha", "mid": "mid"}).order(renamed)
    assert np.array_equal(got[0], arrays["zeta"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.pop("mid"), "got zeta, alpha; expected zeta, alpha, mid. Missing: mid."),
        (lambda x: x.update(w=x["mid"]), "expected zeta, alpha, mid. Unknown: w."),
        (lambda x: x.update(M=x.pop("mid")), "Missing: mid. Unknown: M."),
        (lambda x: x.update({0: x.pop("mid")}), "Missing: mid. Unknown: 0."),
        (lambda x: x.update(mid=x["mid"][:5]), r"got arrays of \[5, 7\] samples"),
        (lambda x: x.update(mid=x["zeta"]), r"for input 'mid': got samples of shape \(3,\)"),
        (lambda x: x.update(mid=x["mid"] * np.nan), "activations of 'mid': got NaN or infinity"),
        (lambda x: x.update(mid=x["mid"].astype(str)), "'mid' of data: got type <U"),
        (lambda x: x.update(mid=[[1.0], [1.0, 2.0]]), "rows that form no array"),
        (lambda x: x.clear(), "got none; expected zeta"),
    ],
)
def test_what_does_not_fit_is_said(arrays, change, message):
    change(arrays)
    with pytest.raises(DataError, match=message):
        signature().arrays(arrays)


def test_other_numbers_of_arrays(arrays):
    with pytest.raises(DataError, match="got 2 arrays; expected zeta, alpha, mid"):
        signature().arrays([arrays["zeta"], arrays["alpha"]])
    with pytest.raises(DataError, match="got 2 arrays; expected 1"):
        ordered_inputs([np.zeros((2, 3)), np.zeros((2, 3))], ["x"])
    with pytest.raises(DataError, match="got a; expected x. Missing: x. Unknown: a."):
        ordered_inputs({"a": np.zeros(3)}, ["x"])
    with pytest.raises(DataError, match="a batch of data: got a tuple of 4"):
        signature().arrays(Stream([tuple(arrays.values()) + (1,)]))
    with pytest.raises(DataError, match=r"shape \(3,\).*expected \(2, 3\). Batch the data set"):
        InputSignature(("x",), ((2, 3),)).arrays(Stream([np.zeros((2, 3))]))
    for wrong in ("text", None, 3, iter([1]), {1, 2}):
        with pytest.raises(DataError, match="expected arrays or a tf.data.Dataset of batches"):
            signature().arrays(wrong)


def test_a_last_axis_of_one_may_be_missing():
    images = InputSignature(("x",), ((4, 4, 1),))
    assert images.order(np.zeros((5, 4, 4)))[0].shape == (5, 4, 4, 1)
    assert InputSignature(("x",), ((1,),)).order([1.0, 2.0])[0].shape == (2, 1)
    assert InputSignature(("x",), ((4,),)).order(np.zeros((5, 4, 1)))[0].shape == (5, 4)
    assert InputSignature(("x",), ((None,),)).order(np.zeros((5, 9)))[0].shape == (5, 9)


@pytest.mark.parametrize("sizes", [(7,), (2, 5), (1, 1, 1, 4), (3, 0, 4)])
def test_a_fixed_batch_is_filled_from_any_pieces(sizes):
    x = np.arange(7.0)[:, None]
    fixed = InputSignature(("x",), ((1,),), batch=3)
    starts = np.cumsum([0, *sizes])
    stream = Stream([x[a:b] for a, b in itertools.pairwise(starts)])
    for data in (x, stream):
        got = [batch[0].ravel().tolist() for batch, _ in fixed.batches(data, 100)]
        assert got == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(DataError, match="fewer than 3 samples; expected at least a batch of 3"):
        list(fixed.batches(x[:2], 100))


def test_no_samples():
    one = InputSignature(("x",), ((2,),))
    for data in (np.zeros((0, 2)), Stream([]), Stream([np.zeros((0, 2))])):
        with pytest.raises(DataError, match="got no samples; expected at least one"):
            list(one.batches(data, 4))
