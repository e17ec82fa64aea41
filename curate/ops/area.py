"""Shrinking images by averaging areas: the bytes of OpenCV's `INTER_AREA` in half the time.

A stored pixel is the mean of the pixels under it, those on its border by the share that lies under
it; sums are in single precision, first along the row, then down the rows, each in OpenCV's order. What
makes it faster is that the three channels of a pixel are weighed and added in one vector operation,
and a row that lies under two stored ones is summed up once.

`tests/ops/test_area.py` compares the bytes, `tests/bench/images.py` measures.
"""

from typing import Any

import numba as nb
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

_CHANNELS = 3
_LANES = (
    4  # of a vector: the channels of a pixel and the first one of the next, which is overwritten
)
_LEAST = 1e-3  # share of a pixel below which OpenCV leaves it out


def shrink(pixels: NDArray[np.uint8], size: tuple[int, int]) -> Any:
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
def _shares(n: int, cells: int) -> Any:
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
    typing: Any, line: Any, start: Any, shares: Any, at: Any, count: Any, out: Any, to: Any
) -> Any:
    """out[to : to + 4] = sum over i < count: shares[at + i] * line[start + 3 * i : start + 3 * i + 4].

    One operation of the processor for the channels of a pixel: the compiler, left to itself, takes
    one for each.
    """
    index = types.int64
    signature = types.void(line, index, shares, index, index, out, index)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes = ir.VectorType(ir.FloatType(), _LANES)
        undefined = ir.Constant(lanes, ir.Undefined)
        everywhere = ir.Constant(ir.VectorType(ir.IntType(32), _LANES), [0] * _LANES)
        step = ir.Constant(ir.IntType(64), _CHANNELS)

        def place(array: int, offset: Any) -> Any:
            data = context.make_array(signature.args[array])(context, builder, args[array]).data
            return builder.gep(data, [offset])

        total = cgutils.alloca_once_value(builder, ir.Constant(lanes, [0.0] * _LANES))
        with cgutils.for_range(builder, args[4]) as loop:
            share = builder.load(place(2, builder.add(args[3], loop.index)))
            pixel = place(0, builder.add(args[1], builder.mul(loop.index, step)))
            values = builder.load(builder.bitcast(pixel, lanes.as_pointer()), align=4)
            one = builder.insert_element(undefined, share, ir.Constant(ir.IntType(32), 0))
            weighed = builder.fmul(values, builder.shuffle_vector(one, undefined, everywhere))
            builder.store(builder.fadd(builder.load(total), weighed), total)
        target = builder.bitcast(place(5, args[6]), lanes.as_pointer())
        builder.store(builder.load(total), target, align=4)
        return context.get_dummy_value()

    return signature, generate


@nb.njit(cache=True, nogil=True)
def _shrink(
    lines: Any, left: Any, wide: Any, across: Any, top: Any, tall: Any, down: Any
) -> NDArray[np.uint8]:
    """Rows of (height, 3 * width) summed up along `across`, then over each other along `down`."""
    width, height = len(left), len(top)
    length = _CHANNELS * width
    stored = np.empty((height, length), np.uint8)
    line = np.zeros(lines.shape[1] + 1, np.float32)
    summed = np.empty(length + 1, np.float32)
    total = np.empty(length, np.float32)
    weights, most = across.reshape(-1), across.shape[1]
    last = -1
    for row in range(height):
        for i in range(tall[row]):
            source = top[row] + i
            if source != last:
                for x in range(lines.shape[1]):
                    line[x] = np.float32(lines[source, x])
                for cell in range(width):
                    _weigh(line, _CHANNELS * left[cell], weights, most * cell, wide[cell],
                           summed, _CHANNELS * cell)  # fmt: skip
                last = source
            share = down[row, i]
            if i == 0:
                for x in range(length):
                    total[x] = share * summed[x]
            else:
                for x in range(length):
                    total[x] += share * summed[x]
        for x in range(length):
            stored[row, x] = np.uint8(min(max(np.rint(total[x]), np.float32(0)), np.float32(255)))
    return stored
