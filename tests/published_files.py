"""Files of published weights as their libraries write them, with random numbers: torchvision's AlexNet and Caffe's two networks."""

import functools
import json

import numpy as np
import pytest

from cnn_research.models import zoo

torch = pytest.importorskip('torch')
nn = torch.nn

NARROW = 'resized(1=8,2=12,3=16,4=12,5=8,6=24,7=20,8=10)'
FORMATS = ('state.pth', 'old.pth', 'parameters.pth', 'protocol4.pt', 'state.safetensors', 'state.npz')


class Twin(nn.Module):
    """torchvision's AlexNet, layer for layer, with other widths."""

    def __init__(self, one, two, three, four, five, six, seven, classes):
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(3, one, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(one, two, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(two, three, 3, padding=1), nn.ReLU(), nn.Conv2d(three, four, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(four, five, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            *(nn.Dropout(), nn.Linear(36 * five, six), nn.ReLU(), nn.Dropout(), nn.Linear(six, seven), nn.ReLU(), nn.Linear(seven, classes))
        )

    def stages(self, x):
        """What leaves each stage."""
        for module in self.features:
            yield (x := module(x))
        x = self.avgpool(x).flatten(1)
        for module in self.classifier:
            yield (x := module(x))


def twin(name):
    torch.manual_seed(0)
    net = Twin(*(layer.stages[0].features for layer in zoo.architecture(name).layers)).eval()
    with torch.no_grad():
        for parameter in net.parameters():  # as large as ReLU needs, so that nothing fades away towards the top
            parameter.normal_(0, (2 / parameter[0].numel()) ** 0.5 if parameter.dim() > 1 else 0.1)
    return net


def write(path, net):
    """The network's state dict in the format that the file's name says."""
    state = net.state_dict()
    if path.suffix == '.npz':
        np.savez(path, **{name: tensor.numpy() for name, tensor in state.items()})
    elif path.suffix == '.safetensors':
        header, data = {'__metadata__': {'format': 'pt'}}, b''
        for name, tensor in reversed(state.items()):
            numbers = tensor.numpy().tobytes()
            header[name] = {'dtype': 'F32', 'shape': list(tensor.shape), 'data_offsets': [len(data), len(data) + len(numbers)]}
            data += numbers
        text = json.dumps(header).encode().ljust(8000)
        path.write_bytes(len(text).to_bytes(8, 'little') + text + data)
    elif path.name == 'parameters.pth':
        torch.save(dict(net.named_parameters()), path)
    elif path.name == 'protocol4.pt':
        torch.save(state, path, pickle_protocol=4)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=path.name != 'old.pth')


def write_all(folder):
    """A narrow network, written into the folder in every format."""
    net = twin(f'alexnet_owt {NARROW}')
    for name in FORMATS:
        write(folder / name, net)
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
