"""Shrinking images by averaging areas: the bytes of OpenCV's `INTER_AREA` in a quarter of the time.

A stored pixel is the mean of the pixels under it, those on its border by the share that lies under
it; sums are in single precision, first along the row, then down the rows, each in OpenCV's order. What
makes it faster is that the three channels of a pixel in each of four rows are weighed and added in one
vector operation, and a row that lies under two stored ones is summed up once.

`tests/ops/images/test_area.py` compares the bytes, `tests/bench/images.py` measures.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.base import BaseContext
from numba.core.typing import Signature
from numba.extending import intrinsic
from numpy.typing import NDArray

from curate.ops.kernels import Rows, nb

if TYPE_CHECKING:
    from cv2.typing import MatLike

_CHANNELS = 3
_ROWS = 8  # that are summed up at a time
_TOGETHER = 4  # of these, in one vector
_BYTES = (
    4  # of a row in a vector: a pixel's channels and the next one's first, which is overwritten
)
_LEAST = 1e-3  # share of a pixel below which OpenCV leaves it out


def shrink(pixels: NDArray[np.uint8], size: tuple[int, int]) -> "MatLike":
    """`pixels`, (height, width) or (height, width, channels), made `size` (width, height) large.

    The result of ``cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)``, which it leaves what is
    not three channels of eight bits, not smaller along both sides, or smaller by whole factors:
    there OpenCV has integer code.
    """
    import cv2

    width, height = size
    whole = pixels.shape[1] % width == 0 and pixels.shape[0] % height == 0
    smaller = pixels.shape[1] >= width and pixels.shape[0] >= height
    if pixels.dtype != np.uint8 or pixels.shape[2:] != (_CHANNELS,) or whole or not smaller:
        return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    lines = np.ascontiguousarray(pixels).reshape(len(pixels), -1)
    across, down = _shares(pixels.shape[1], width), _shares(pixels.shape[0], height)
    return _shrink(lines, *across, *down).reshape(height, width, _CHANNELS)


@nb.njit(cache=True)
def _shares(n: int, cells: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """What lies under each of `cells` equal parts of `n` pixels: the first pixel, how many, and the
    share of the cell that each takes, shapes (cells,), (cells,) and (cells, most)."""
    scale = n / cells
    most = int(np.ceil(scale)) + 2
    first, count = np.zeros(cells, np.int64), np.zeros(cells, np.int64)
    shares = np.zeros((cells, most), np.float32)
    for cell in range(cells):
        start = cell * scale
        end = start + scale
        area = min(scale, n - start)
        stop = min(int(np.floor(end)), n - 1)
        begin = min(int(np.ceil(start)), stop)
        taken = 0
        first[cell] = begin
        if begin - start > _LEAST:
            first[cell] = begin - 1
            shares[cell, taken] = (begin - start) / area
            taken += 1
        for _ in range(begin, stop):
            shares[cell, taken] = 1.0 / area
            taken += 1
        if end - stop > _LEAST:
            shares[cell, taken] = min(min(end - stop, 1.0), area) / area
            taken += 1
        count[cell] = taken
    return first, count, shares


@intrinsic
def _weigh(
    typing: object,
    pixels: object,
    start: object,
    stride: object,
    shares: object,
    at: object,
    count: object,
    out: object,
    to: object,
    gap: object,
) -> object:
    """For each r < _ROWS: out[to + r * gap :][:4] = sum over i < count:
    shares[at + i] * pixels[start + r * stride + 3 * i :][:4].

    The compiler by itself does not vectorise this: it takes an operation for each number.
    """
    index = types.int64
    signature = types.void(pixels, index, index, shares, index, index, out, index, index)
    lanes = _TOGETHER * _BYTES
    number = ir.IntType(32)
    numbers, floats = ir.VectorType(number, lanes), ir.VectorType(ir.FloatType(), lanes)
    four = ir.VectorType(ir.FloatType(), _BYTES)

    def generate(
        context: BaseContext, builder: ir.IRBuilder, signature: Signature, args: Sequence[ir.Value]
    ) -> ir.Value:
        def place(array: int, offset: ir.Value) -> ir.Value:
            data = context.make_array(signature.args[array])(context, builder, args[array]).data
            return builder.gep(data, [offset])

        def choice(*lanes: int) -> ir.Constant:
            return ir.Constant(ir.VectorType(number, len(lanes)), lanes)

        totals = [
            cgutils.alloca_once_value(builder, ir.Constant(floats, [0.0] * lanes))
            for _ in range(_ROWS // _TOGETHER)
        ]
        with cgutils.for_range(builder, args[5]) as loop:
            share = builder.load(place(3, builder.add(args[4], loop.index)))
            nothing = ir.Constant(floats, ir.Undefined)
            one = builder.insert_element(nothing, share, ir.Constant(number, 0))
            everywhere = builder.shuffle_vector(one, nothing, choice(*[0] * lanes))
            step = ir.Constant(ir.IntType(64), _CHANNELS)
            offset = builder.add(args[1], builder.mul(loop.index, step))
            for total in totals:
                rows = ir.Constant(ir.VectorType(number, _TOGETHER), ir.Undefined)
                for row in range(_TOGETHER):
                    pixel = builder.bitcast(place(0, offset), number.as_pointer())
                    bits = builder.load(pixel, align=1)
                    rows = builder.insert_element(rows, bits, ir.Constant(number, row))
                    offset = builder.add(offset, args[2])
                values = builder.zext(
                    builder.bitcast(rows, ir.VectorType(ir.IntType(8), lanes)), numbers
                )
                weighed = builder.fmul(builder.sitofp(values, floats), everywhere)
                builder.store(builder.fadd(builder.load(total), weighed), total)
        offset = args[7]
        for total in totals:
            sums = builder.load(total)
            for first in range(0, lanes, _BYTES):
                part = builder.shuffle_vector(sums, sums, choice(*range(first, first + _BYTES)))
                target = builder.bitcast(place(6, offset), four.as_pointer())
                builder.store(part, target, align=4)
                offset = builder.add(offset, args[8])
        return context.get_dummy_value()

    return signature, generate


@nb.njit(cache=True, nogil=True)
def _shrink(
    lines: Rows[np.uint8],
    left: NDArray[np.int64],
    wide: NDArray[np.int64],
    across: Rows[np.float32],
    top: NDArray[np.int64],
    tall: NDArray[np.int64],
    down: Rows[np.float32],
) -> NDArray[np.uint8]:
    """Rows of (height, 3 * width) summed up along `across`, then over each other along `down`."""
    width, height = len(left), len(top)
    length, stride = _CHANNELS * width, lines.shape[1]
    stored = np.empty((height, length), np.uint8)
    last = np.zeros(_ROWS * stride + 1, np.uint8)  # a byte behind the rows is read too
    summed = np.empty(_ROWS * (length + 1), np.float32)
    sums = summed.reshape(_ROWS, length + 1)
    total = np.empty(length, np.float32)
    weights, most = across.reshape(-1), across.shape[1]
    begin = -_ROWS
    for row in range(height):
        for i in range(tall[row]):
            source = top[row] + i
            if source >= begin + _ROWS:
                begin = source
                pixels, start = lines.reshape(-1), begin * stride
                if begin + _ROWS >= len(lines):
                    for at in range(start, len(pixels)):
                        last[at - start] = pixels[at]
                    pixels, start = last, 0
                for cell in range(width):
                    _weigh(pixels, start + _CHANNELS * left[cell], stride, weights, most * cell,
                           wide[cell], summed, _CHANNELS * cell, length + 1)  # fmt: skip
            share, line = down[row, i], sums[source - begin]
            if i == 0:
                for x in range(length):
                    total[x] = share * line[x]
            else:
                for x in range(length):
                    total[x] += share * line[x]
        for x in range(length):
            stored[row, x] = np.uint8(np.int32(np.rint(total[x])))
    return stored
