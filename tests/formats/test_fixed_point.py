"""Every fixed-point format of up to 8 bits, its names, and the formats that cannot exist."""

import dataclasses
import re

import pytest

from tfxp.errors import FormatError
from tfxp.formats import FixedPointFormat, WrpnFormat, parse_format


def formats_up_to(bits):
    """Every kind of word length 1 to `bits`, with f from far left to far right of the word."""
    for word in range(1, bits + 1):
        for f in (-40, -9, -1, 0, 1, word - 1, word, word + 1, 12, 40):
            yield FixedPointFormat(word - f - 1, f)
            yield FixedPointFormat(word - f, f, signed=False)
            if word > 1:
                yield FixedPointFormat(word - f - 1, f, symmetric=True)


ALL = list(dict.fromkeys(formats_up_to(8)))


def test_table_is_complete():
    assert len(ALL) > 200
    assert {fmt.bits for fmt in ALL} == set(range(1, 9))
    assert any(fmt.integer_bits < 0 for fmt in ALL) and any(fmt.fractional_bits < 0 for fmt in ALL)


@pytest.mark.parametrize("fmt", ALL, ids=str)
def test_limits_from_counting_codes(fmt):
    codes = range(fmt.qmin, fmt.qmax + 1)
    assert len(codes) == 2**fmt.bits - int(fmt.symmetric)
    assert 0 in codes
    assert fmt.scale * 2.0**fmt.fractional_bits == 1 and fmt.scale * fmt.inverse_scale == 1
    assert fmt.min == min(codes) * fmt.scale and fmt.max == max(codes) * fmt.scale
    if fmt.symmetric:
        assert fmt.min == -fmt.max
    elif fmt.signed:
        assert fmt.min == -(2.0**fmt.integer_bits)
        assert fmt.max == 2.0**fmt.integer_bits - fmt.scale
    else:
        assert fmt.min == 0 and fmt.max == 2.0**fmt.integer_bits - fmt.scale


@pytest.mark.parametrize("fmt", ALL, ids=str)
def test_name_and_parse_are_inverses(fmt):
    assert FixedPointFormat.parse(str(fmt)) == fmt
    assert parse_format(f" {fmt} ") == fmt
    assert eval(repr(fmt), {"FixedPointFormat": FixedPointFormat.parse}) == fmt
    assert FixedPointFormat.of_bits(fmt.bits, fmt.fractional_bits, fmt.signed, fmt.symmetric) == fmt


@pytest.mark.parametrize("fmt", ALL, ids=str)
def test_sign_in_m_is_the_other_convention(fmt):
    suffix = "s" if fmt.symmetric else ""
    assert FixedPointFormat.parse(fmt.adaption_name + suffix, sign_in_m=True) == fmt


def test_adaption_known_answer():
    # test_lp_funcs.cpp: bd = 3, ad = 2. MAX = 2^(bd-1) - 2^-ad, the range is symmetric.
    fmt = FixedPointFormat.parse("Q3.2s", sign_in_m=True)
    assert (fmt.bits, fmt.scale, fmt.min, fmt.max) == (5, 0.25, -3.75, 3.75)
    assert str(fmt) == "Q2.2s" and fmt.adaption_name == "Q3.2"
    for bd in range(1, 10):
        for ad in range(1, 10):
            fmt = FixedPointFormat.parse(f"Q{bd}.{ad}s", sign_in_m=True)
            assert fmt.bits == bd + ad
            assert fmt.max == 2 ** (bd - 1) - 2**-ad == -fmt.min


def test_values_of_known_names():
    assert FixedPointFormat.parse("Q2.5") == FixedPointFormat(2, 5)
    assert FixedPointFormat.parse("UQ2.4") == FixedPointFormat(2, 4, signed=False)
    assert FixedPointFormat.parse("Q0.3s") == FixedPointFormat(0, 3, symmetric=True)
    negative = FixedPointFormat.parse("Q-2.9")
    assert (negative.bits, negative.min, negative.max) == (8, -0.25, 0.25 - 2**-9)
    coarse = FixedPointFormat.parse("UQ12.-4")
    assert (coarse.bits, coarse.scale, coarse.max) == (8, 16.0, 4080.0)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((-1, 0), "word length of Q-1.0: got 0 bits; expected 1 to 32"),
        ((0, 0, False), "word length of UQ0.0: got 0 bits"),
        ((-9, 5), "got -3 bits"),
        ((20, 19), "word length of Q20.19: got 40 bits; expected 1 to 32"),
        ((16, 16), "got 33 bits"),
        ((17, 16, False), "got 33 bits"),
        ((3, 4, False, True), "symmetric range of UQ3.4s: got unsigned, 7 bits; expected a signed"),
        ((0, 0, True, True), "symmetric range of Q0.0s: got signed, 1 bits; expected .* 2 bits"),
        ((65, -60), "integer_bits of fixed-point format: got 65; expected an integer from -64 to"),
        ((-60, 65), "fractional_bits of fixed-point format: got 65"),
        ((2.0, 5), "integer_bits of fixed-point format: got 2.0"),
        ((True, 5), "got True"),
        (("2", 5), "got '2'"),
    ],
)
def test_impossible_formats_are_rejected_with_their_text(arguments, text):
    with pytest.raises(FormatError, match=text):
        FixedPointFormat(*arguments)


@pytest.mark.parametrize(
    "text",
    ["", "Q", "Q2", "2.5", "Q2,5", "q2.5", "SQ2.5", "Q2.5x", "Q2.5S", "Q+2.5", "Q2.5 s", "QU2.5",
     "Q--2.5", "Q2.5s s", "Q1e3.2", "Q\u0663.5", "Q" + "9" * 5000 + ".1", "wrpn:", "wrpn:-1"],
)  # fmt: skip
def test_names_that_are_none(text):
    with pytest.raises(FormatError, match=re.escape("expected Qm.f, Qm.fs (symmetric) or UQm.f")):
        parse_format(text)


@pytest.mark.parametrize("value", [None, 8, 2.5, ["Q2.5"]])
def test_only_text_is_parsed(value):
    with pytest.raises(FormatError, match="expected a name such as 'Q2.5'"):
        parse_format(value)


def test_formats_are_values():
    fmt = FixedPointFormat(2, 5)
    assert fmt == FixedPointFormat(2, 5) and hash(fmt) == hash(FixedPointFormat(2, 5))
    assert fmt != FixedPointFormat(2, 5, symmetric=True)
    with pytest.raises(dataclasses.FrozenInstanceError):
        fmt.integer_bits = 3


@pytest.mark.parametrize("role", ["weights", "activations"])
@pytest.mark.parametrize("bits", range(1, 17))
def test_wrpn_limits_and_names(bits, role):
    fmt = WrpnFormat(bits, role)
    assert parse_format(str(fmt), role) == fmt
    assert eval(repr(fmt)) == fmt
    levels = {("weights", 1): 2, ("weights", 2): 3}.get((role, bits))
    if levels is None:
        levels = 2 * (2 ** (bits - 1) - 1) + 1 if role == "weights" else 2**bits
    codes = [code for code in range(fmt.qmin, fmt.qmax + 1) if code or not fmt.is_binary]
    assert len(codes) == levels
    assert fmt.signed == fmt.symmetric == (role == "weights")
    assert fmt.is_binary == (role == "weights" and bits == 1)
    assert (fmt.min, fmt.max) == (-1.0 if role == "weights" else 0.0, 1.0)
    assert fmt.scale * fmt.qmax == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((0,), "bits of WRPN format: got 0; expected 1 to 16"),
        ((40,), "bits of WRPN format: got 40; expected 1 to 16"),
        ((-2, "activations"), "got -2"),
        ((2.0,), "got 2.0"),
        ((True,), "got True"),
        ((4, "bias"), "role of WRPN format: got 'bias'; expected one of"),
    ],
)
def test_impossible_wrpn_formats(arguments, text):
    with pytest.raises(FormatError, match=text):
        WrpnFormat(*arguments)
