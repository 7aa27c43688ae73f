"""Stored numbers back to float32, exactly and into a buffer that is there already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SIGN_EXPONENT_FRACTION = np.int32(-0x7000_2000)  # 0x8FFF_E000: the bits of a half, shifted left by 13
_REBIAS = np.float32(2.0**112)  # exponents of float16 and float32 are biased by 15 and 127


def upcast(codes: NDArray[Any], out: NDArray[np.float32]) -> None:
    """Write `codes` to `out`, same shape, any strides.

    int16 and int8 give their integers (the scale is in the query). float16 goes through its bits: NumPy converts one
    half at a time, this is four passes over integers and 4 times as fast. A half's sign, exponent and fraction move
    into the places of a float32's, and one multiplication by 2**112 corrects the exponent; it makes normal numbers
    of subnormal ones and is exact for every finite half.
    """
    if codes.dtype != np.float16:
        np.copyto(out, codes, casting="unsafe")
        return
    bits = out.view(np.int32)
    np.copyto(bits, codes.view(np.int16), casting="unsafe")  # the sign fills the upper half: masked away below
    np.left_shift(bits, 13, out=bits)
    np.bitwise_and(bits, _SIGN_EXPONENT_FRACTION, out=bits)
    np.multiply(out, _REBIAS, out=out)
