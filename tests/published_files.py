"""Files of published weights as their libraries write them, with random numbers: torchvision's AlexNet, Caffe's two networks,
SqueezeNet in codes."""

import collections
import functools
import io
import json
import pickle
import sys
import types
import zipfile
from unittest import mock

import ml_dtypes
import numpy as np
import pytest

from cnn_research.models import zoo

NARROW = 'resized(1=8,2=12,3=16,4=12,5=8,6=24,7=20,8=10)'
FORMATS = ('state.pth', 'old.pth', 'parameters.pth', 'protocol4.pt', 'state.safetensors', 'state.npz')
CLASSIFIER = ('classifier.6.weight', 'classifier.6.bias')


def state(narrow=NARROW, seed=0):
    """{name: float32 array} of torchvision's AlexNet with these widths, random, as large as ReLU needs, so that nothing fades away."""
    layers, rng, arrays = zoo.architecture(f'alexnet_owt {narrow}').layers, np.random.default_rng(seed), {}
    below, names = 3, (*(f'features.{i}' for i in (0, 3, 6, 8, 10)), *(f'classifier.{i}' for i in (1, 4, 6)))
    for layer, name, side in zip(layers, names, (11, 5, 3, 3, 3, 6, 1, 1), strict=True):
        above = layer.stages[0].features
        shape = (above, below, side, side) if layer.number < 6 else (above, below * side**2)
        arrays[f'{name}.weight'] = rng.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape).astype('f4')
        arrays[f'{name}.bias'] = rng.normal(0, 0.1, above).astype('f4')
        below = above
    return arrays


# A narrow SqueezeNet, whose fire modules have 3 maps of 1x1 and 4 of 3x3.
FIRES = ' '.join(f'replaced({layer},features=7,pointwise=3)' for layer in range(3, 18, 2))
NARROW_FIRES = f'resized(1=8,{",".join(f"{layer}=5" for layer in range(2, 17, 2))},18=10) {FIRES}'


def coded(classes=10, seed=0):
    """{name: array} of SqueezeNet in codes, with the widths of NARROW_FIRES and random numbers, as large as ReLU needs."""
    rng, arrays = np.random.default_rng(seed), {}
    sizes = {'conv1': (8, 3, 7, 7)}
    for number in range(2, 10):
        sizes[f'fire{number}/conv1x1_1'] = (5, 8 if number == 2 else 7, 1, 1)
        sizes |= {f'fire{number}/conv1x1_2': (3, 5, 1, 1), f'fire{number}/conv3x3_2': (4, 5, 3, 3)}
    for name, size in {**sizes, 'conv_final': (classes, 7, 1, 1)}.items():
        arrays[f'{name}:codes'] = rng.integers(0, 256, size, np.uint8)
        arrays[f'{name}:codebook'] = rng.normal(0, (2 / np.prod(size[1:])) ** 0.5, 256).astype('f4')
        arrays[f'{name}:bias'] = rng.normal(0, 0.1, size[0]).astype('f4')
    return arrays


# What torch.save writes, without torch: arrays in any nest of dicts, lists and plain values.

STORAGES = {'float32': 'Float', 'float16': 'Half', 'bfloat16': 'BFloat16', 'float64': 'Double', 'int64': 'Long', 'uint8': 'Byte'}


def pickled(value, protocol=2):
    """(the pickle, {key: bytes of a storage})."""
    torch = types.ModuleType('torch')
    torch._utils = types.ModuleType('torch._utils')

    def rebuild():
        pass

    rebuild.__module__, rebuild.__qualname__ = 'torch._utils', '_rebuild_tensor_v2'
    torch._utils._rebuild_tensor_v2 = rebuild
    for kind in STORAGES.values():
        setattr(torch, f'{kind}Storage', type(f'{kind}Storage', (), {'__module__': 'torch'}))
    storages, file = {}, io.BytesIO()

    class Stored(tuple):
        pass

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return tuple(value) if isinstance(value, Stored) else None

        def reducer_override(self, value):
            if not isinstance(value, np.ndarray):
                return NotImplemented
            key = str(len(storages))
            storages[key] = value.tobytes()
            storage = Stored(('storage', getattr(torch, f'{STORAGES[value.dtype.name]}Storage'), key, 'cpu', value.size))
            strides = tuple(stride // value.itemsize for stride in np.ascontiguousarray(value).strides)
            return rebuild, (storage, 0, value.shape, strides if value.shape else (), False, collections.OrderedDict())

    with mock.patch.dict(sys.modules, {'torch': torch, 'torch._utils': torch._utils}):
        Pickler(file, protocol).dump(value)
    return file.getvalue(), storages


def torch_bytes(value, old=False):
    """The bytes of a file of torch.save's, in today's format or that from before torch 1.6."""
    data, storages = pickled(value)
    if not old:
        return zipped(data, storages)
    before = [pickle.dumps(one, 2) for one in (0x1950A86A20F9469CFC6C, 1001, {'protocol_version': 1001, 'little_endian': True})]
    parts = [(len(numbers) // 4).to_bytes(8, 'little') + numbers for numbers in storages.values()]
    return b''.join([*before, data, pickle.dumps(list(storages), 2), *parts])


def zipped(data, storages, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', compression) as archive:
        archive.writestr('archive/data.pkl', data)
        for key, numbers in storages.items():
            archive.writestr(f'archive/data/{key}', numbers)
    return file.getvalue()


def safetensors_bytes(arrays, metadata=None, **changes):
    """The bytes of a .safetensors file; changes: {name: {field of its entry in the header: value}}."""
    kinds = {'float32': 'F32', 'float16': 'F16', 'bfloat16': 'BF16', 'float64': 'F64', 'int64': 'I64', 'uint8': 'U8'}
    header, data = {'__metadata__': metadata or {'format': 'pt'}}, b''
    for name, array in arrays.items():
        place = [len(data), len(data) + array.nbytes]
        header[name] = {'dtype': kinds[array.dtype.name], 'shape': array.shape, 'data_offsets': place} | changes.get(name, {})
        data += array.tobytes()
    text = json.dumps(header).encode().ljust(8000)
    return len(text).to_bytes(8, 'little') + text + data


def write(path, arrays):
    """The state dict in the format that the file's name says."""
    if path.suffix == '.npz':
        np.savez(path, **arrays)
    elif path.suffix == '.safetensors':
        path.write_bytes(safetensors_bytes(arrays))
    else:
        path.write_bytes(torch_bytes(collections.OrderedDict(arrays), old=path.name.startswith('old')))


def as_bfloat16(arrays):
    return {name: array.astype(ml_dtypes.bfloat16) for name, array in arrays.items()}


# The same by PyTorch itself, where it is installed.


def twin(name):
    """torchvision's AlexNet, layer for layer, with the widths of an architecture and random numbers."""
    torch = pytest.importorskip('torch')
    nn = torch.nn
    widths = [layer.stages[0].features for layer in zoo.architecture(name).layers]
    one, two, three, four, five, six, seven, outputs = widths

    class Twin(nn.Module):
        def __init__(self):
            super().__init__()
            self.features = nn.Sequential(
                *(nn.Conv2d(3, one, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
                *(nn.Conv2d(one, two, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
                *(nn.Conv2d(two, three, 3, padding=1), nn.ReLU(), nn.Conv2d(three, four, 3, padding=1), nn.ReLU()),
                *(nn.Conv2d(four, five, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)),
            )
            self.avgpool = nn.AdaptiveAvgPool2d(6)
            dense = (nn.Linear(36 * five, six), nn.ReLU(), nn.Dropout(), nn.Linear(six, seven), nn.ReLU(), nn.Linear(seven, outputs))
            self.classifier = nn.Sequential(nn.Dropout(), *dense)

        def stages(self, x):
            """What leaves each stage."""
            for module in self.features:
                yield (x := module(x))
            x = self.avgpool(x).flatten(1)
            for module in self.classifier:
                yield (x := module(x))

    net = Twin().eval()
    arrays = state(name.partition(' ')[2])
    net.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})
    return net


def write_by_torch(path, net):
    """The network's state dict in the format that the file's name says, PyTorch's own by PyTorch."""
    torch = pytest.importorskip('torch')
    if path.name == 'parameters.pth':
        torch.save(dict(net.named_parameters()), path)
    elif path.name == 'protocol4.pt':
        torch.save(net.state_dict(), path, pickle_protocol=4)
    elif path.suffix == '.pth':
        torch.save(net.state_dict(), path, _use_new_zipfile_serialization=path.name != 'old.pth')
    else:
        write(path, {name: tensor.numpy() for name, tensor in net.state_dict().items()})


def write_all(folder):
    """A narrow network, written into the folder in every format."""
    net = twin(f'alexnet_owt {NARROW}')
    for name in FORMATS:
        write_by_torch(folder / name, net)
    return net


# Caffe's files are written by Google's protocol buffers, from the numbers in BVLC/caffe's caffe.proto.

V1_TYPES = {'Convolution': 4, 'Data': 5, 'Dropout': 6, 'InnerProduct': 14, 'LRN': 15, 'Pooling': 17, 'ReLU': 18, 'SoftmaxWithLoss': 21}


@functools.cache
def proto():
    """The message classes NetParameter and BlobProto."""
    descriptor_pb2 = pytest.importorskip('google.protobuf.descriptor_pb2')
    from google.protobuf import descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name='caffe_subset.proto', package='caffe', syntax='proto2')
    kinds = {'string': 9, 'int32': 5, 'int64': 3, 'float': 2}

    def message(message_name, **fields):
        added = file.message_type.add(name=message_name)
        for name, (number, kind, *label) in fields.items():
            field = added.field.add(name=name, number=number, label=3 if label else 1, type=kinds.get(kind, 11))
            if kind not in kinds:
                field.type_name = f'.caffe.{kind}'
            if 'packed' in label:
                field.options.packed = True

    message('BlobShape', dim=(1, 'int64', 'packed'))
    old = {name: (number, 'int32') for number, name in enumerate(('num', 'channels', 'height', 'width'), 1)}
    message('BlobProto', shape=(7, 'BlobShape'), data=(5, 'float', 'packed'), diff=(6, 'float', 'packed'), **old)
    inout = {'bottom': (3, 'string', 'repeated'), 'top': (4, 'string', 'repeated'), 'phase': (10, 'int32')}
    message('LayerParameter', name=(1, 'string'), type=(2, 'string'), blobs=(7, 'BlobProto', 'repeated'), **inout)
    rates = {'bottom': (2, 'string', 'repeated'), 'blobs_lr': (7, 'float', 'repeated')}
    message('V1LayerParameter', name=(4, 'string'), type=(5, 'int32'), blobs=(6, 'BlobProto', 'repeated'), **rates)
    layers = {'layers': (2, 'V1LayerParameter', 'repeated'), 'layer': (100, 'LayerParameter', 'repeated')}
    message('NetParameter', name=(1, 'string'), input=(3, 'string', 'repeated'), **layers)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f'caffe.{name}')) for name in ('NetParameter', 'BlobProto')}


ORDERS = {'bvlc_alexnet': ('LRN', 'Pooling'), 'caffenet': ('Pooling', 'LRN')}


def caffe_layers(name, narrow, seed=0):
    """[(name, type, arrays)] of a training net of Caffe's: data and loss too. Random weights, (O, I / groups, H, W) and (O, I)."""
    net, rng, layers = zoo.architecture(f'{name} {narrow}'), np.random.default_rng(seed), [('data', 'Data', [])]
    maps = [3, *(layer.stages[0].features for layer in net.layers)]
    for n, below, above in zip(range(1, 9), maps, maps[1:], strict=False):
        if n <= 5:
            groups, side = (2 if n in (2, 4, 5) else 1), (11, 5, 3, 3, 3)[n - 1]
            shape, prefix, kind = (above, below // groups, side, side), 'conv', 'Convolution'
        else:
            shape, prefix, kind = (above, below * 36 if n == 6 else below), 'fc', 'InnerProduct'
        spread = (2 / np.prod(shape[1:])) ** 0.5
        arrays = [rng.normal(0, spread, shape).astype('f4'), rng.normal(0, 1, above).astype('f4')]
        layers.append((f'{prefix}{n}', kind, arrays))
        after = ['ReLU'] if n < 8 else []
        after += ORDERS[name] if n < 3 else ['Pooling'] if n == 5 else ['Dropout'] if n in (6, 7) else []
        layers += [(f'{kind.lower()}{n}', kind, []) for kind in after]
    return [*layers, ('loss', 'SoftmaxWithLoss', [])]


def caffemodel(layers, old):
    """The bytes of a NetParameter, in today's form or that of 2014."""
    net = proto()['NetParameter'](name='somebody renamed it', input=['data'])
    for name, kind, arrays in layers:
        layer = net.layers.add(name=name, type=V1_TYPES[kind]) if old else net.layer.add(name=name, type=kind, phase=1)
        layer.bottom.extend(['a', 'b'])
        for array in arrays:
            blob = layer.blobs.add(data=array.ravel(), diff=[0.5])
            if old:
                blob.num, blob.channels, blob.height, blob.width = (1,) * (4 - array.ndim) + array.shape
            else:
                blob.shape.dim.extend(array.shape)
    return net.SerializeToString()
