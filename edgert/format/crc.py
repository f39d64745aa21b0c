"""The CRC-32 of bytes that were checked in pieces, from the CRC-32 of each piece.

Source: Mark Adler, crc32_combine of zlib 1.3: appending n bytes multiplies by x^(8n) modulo the polynomial.
"""

from __future__ import annotations

from collections.abc import Iterable

_POLYNOMIAL = 0xEDB88320
"""Of CRC-32, its lowest power in the highest bit, as all polynomials here."""
_ONE = 1 << 31


def combined(pieces: Iterable[tuple[int, int]]) -> int:
    """The CRC-32 of all bytes, from (CRC-32, length in bytes) of each piece in order."""
    whole = 0
    for crc, nbytes in pieces:
        whole = _product(_power(8 * nbytes), whole) ^ crc
    return whole


def _product(a: int, b: int) -> int:
    """a * b modulo the polynomial."""
    product = 0
    while a:
        if a & _ONE:
            product ^= b
        a = a << 1 & 0xFFFFFFFF
        b = b >> 1 ^ (_POLYNOMIAL if b & 1 else 0)
    return product


def _power(n: int) -> int:
    """x^n modulo the polynomial, by squaring."""
    power, square = _ONE, _ONE >> 1
    while n:
        if n & 1:
            power = _product(square, power)
        square = _product(square, square)
        n >>= 1
    return power
