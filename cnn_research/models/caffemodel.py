"""Caffe's files: the layers of a .caffemodel and the array of a .binaryproto, as arrays.

Both are protocol buffers (https://protobuf.dev/programming-guides/encoding), described by caffe.proto in BVLC/caffe; only the fields that
hold names, types and numbers are looked at. Damage raises ValueError, TypeError, IndexError or AttributeError.
"""

from typing import BinaryIO, NamedTuple

import numpy as np

_MOST_FIELDS = 100_000  # of one message: numbers are packed into one field

# Field numbers of (name, type, blobs) by NetParameter's field: `layers` are V1LayerParameter, until 2014, `layer` LayerParameter.
_LAYERS, _LAYER = 2, 100
_FIELDS = {_LAYERS: (4, 5, 6), _LAYER: (1, 2, 7)}
# V1LayerParameter.LayerType in the later words, for the types that an architecture has stages for.
_V1_TYPES = {4: 'Convolution', 6: 'Dropout', 14: 'InnerProduct', 15: 'LRN', 17: 'Pooling', 18: 'ReLU'}


class CaffeLayer(NamedTuple):
    """type: Caffe's word, such as 'InnerProduct'. blobs: what it learned, float32: weights (O, I, H, W) or (O, I), then biases (O,).

    Blobs of old files are always four-dimensional, with ones in front.
    """

    name: str
    type: str
    blobs: tuple[np.ndarray, ...]


def layers(file: BinaryIO) -> list[CaffeLayer]:
    """The layers of a NetParameter, in its order; those that learn nothing are among them."""
    net = _fields(memoryview(file.read()))
    found = []
    for number, (name, kind, blobs) in _FIELDS.items():
        for layer in map(_fields, net.get(number, ())):
            word = layer[kind][-1] if kind in layer else b''
            word = _V1_TYPES.get(word, '') if number == _LAYERS else str(word, 'utf-8')
            found.append(CaffeLayer(str(layer.get(name, [b''])[-1], 'utf-8'), word, tuple(map(_blob, layer.get(blobs, ())))))
    return found


def blob(file: BinaryIO) -> np.ndarray:
    """The float32 array of a BlobProto, such as a mean image (1, C, H, W), C in the order B, G, R."""
    return _blob(memoryview(file.read()))


def _blob(data):
    fields = _fields(data)
    numbers = np.frombuffer(b''.join(fields.get(5, ())), '<f4')
    if 7 in fields:
        shape = [side for part in _fields(fields[7][-1]).get(1, ()) for side in ([part] if isinstance(part, int) else _varints(part[:100]))]
    else:
        shape = [fields.get(number, [0])[-1] for number in (1, 2, 3, 4)]
    return numbers.reshape(shape)


def _fields(data: memoryview) -> dict[int, list[int | memoryview]]:
    """{field number: its values in order} of one message: an int for a varint, else the bytes."""
    found, place, count = {}, 0, 0
    while place < len(data):
        key, place = _varint(data, place)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, place = _varint(data, place)
        else:
            size, place = _varint(data, place) if wire == 2 else ({1: 8, 5: 4}.get(wire, len(data)), place)
            value = data[place : place + size]
            place += size
            if place > len(data):
                raise ValueError(f'field {number} reaches beyond the end')
        found.setdefault(number, []).append(value)
        count += 1
        if count > _MOST_FIELDS:
            raise ValueError(f'a message has more than {_MOST_FIELDS:,} fields')
    return found


def _varint(data, place):
    """(number, place behind it): seven bits a byte, lowest first, the eighth bit set on all but the last."""
    number = shift = 0
    while True:
        byte = data[place]
        number, shift, place = number | (byte & 127) << shift, shift + 7, place + 1
        if byte < 128:
            return number, place
        if shift > 63:
            raise ValueError('a number of more than 64 bits')


def _varints(data):
    numbers, place = [], 0
    while place < len(data):
        number, place = _varint(data, place)
        numbers.append(number)
    return numbers
