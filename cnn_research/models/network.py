"""The one Flax module that runs any architecture, and its taps."""

from collections.abc import Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cnn_research import stages
from cnn_research.architecture import Architecture, Layer
from cnn_research.errors import ArchitectureError, shown
from cnn_research.models import descriptors, downward, layers, normalization, pooling
from cnn_research.models.initialization import Initialization, initial

# What each stage does to x (B H W C, or B F after a dense stage): (stage, x, its parameters, per-example keys or None while not training).
_APPLY = {
    stages.Convolution: lambda s, x, p, keys: layers.convolution(
        x,
        p['kernel'] if s.table is None else layers.partial_kernel(p['kernel'], s.table, x.shape[-1]),
        p['bias'],
        s.stride,
        s.padding,
        s.ceil,
        s.groups,
    ),
    stages.Expand: lambda s, x, p, keys: layers.expand(x, p['pointwise'], p['kernel'], p['bias']),
    stages.LocallyConnected: lambda s, x, p, keys: layers.locally_connected(x, p['kernel'], p['bias'], s.kernel, s.stride, s.padding),
    stages.Dense: lambda s, x, p, keys: layers.dense(x, p['kernel'], p['bias']),
    stages.DropConnect: lambda s, x, p, keys: layers.dropconnect(x, p['kernel'], p['bias'], keys, s.rate),
    stages.RadialBasis: lambda s, x, p, keys: layers.rbf(x, jnp.asarray(layers.DIGIT_CODES, x.dtype)),
    stages.ReLU: lambda s, x, p, keys: layers.relu(x),
    stages.Tanh: lambda s, x, p, keys: layers.tanh(x),
    stages.ScaledTanh: lambda s, x, p, keys: layers.scaled_tanh(x),
    stages.Sigmoid: lambda s, x, p, keys: layers.sigmoid(x),
    stages.Absolute: lambda s, x, p, keys: layers.absolute(x),
    stages.MaxPool: lambda s, x, p, keys: pooling.max_pool(x, s.kernel, s.stride, s.padding, s.ceil),
    stages.AveragePool: lambda s, x, p, keys: pooling.average_pool(x, s.kernel, s.stride, s.padding, s.ceil),
    stages.SumPool: lambda s, x, p, keys: pooling.sum_pool(x, s.kernel, s.stride, s.padding, s.ceil),
    stages.Subsampling: lambda s, x, p, keys: pooling.subsampling(x, p['coefficient'], p['bias'], s.kernel, s.stride),
    stages.GlobalAverage: lambda s, x, p, keys: pooling.global_average(x),
    stages.Response: lambda s, x, p, keys: normalization.response(x, s.size, s.alpha, s.beta, s.k, s.divided, s.across),
    stages.Subtractive: lambda s, x, p, keys: normalization.subtractive_normalization(x, s.size, s.across),
    stages.Divisive: lambda s, x, p, keys: normalization.divisive_normalization(x, s.size, s.across),
    stages.CellPool: lambda s, x, p, keys: descriptors.cell_pool(x, s.cells, s.kernel, s.stride),
    stages.UnitLength: lambda s, x, p, keys: descriptors.unit_length(x, s.floor),
    stages.Clipped: lambda s, x, p, keys: descriptors.clipped(x, s.most),
    stages.WinnerTakeAll: lambda s, x, p, keys: descriptors.winner_take_all(x, s.sharpness),
    stages.PyramidPool: lambda s, x, p, keys: descriptors.pyramid_pool(x, s.levels),
    stages.Dropout: lambda s, x, p, keys: layers.dropout(x, keys, s.rate),
    downward.Projecting: lambda s, x, p, keys: downward.through(s, lambda x: _APPLY[type(s.upward)](s.upward, x, p, keys), x),
}
_RANDOM = (stages.Dropout, stages.DropConnect)


class _Stage(nn.Module):
    """One stage with its parameters, so that they are named layer1/convolution/kernel."""

    number: int
    stage: stages.Stage
    initialization: Initialization

    @nn.compact
    def __call__(self, x, train, examples):
        shape = x.shape[1:]
        parameters = {
            name: self.param(name, lambda key, name=name: initial(self.initialization, key, self.number, self.stage, name, shape)).astype(
                x.dtype
            )
            for name in self.stage.parameters(shape)
        }
        keys = None
        if train and isinstance(self.stage, _RANDOM):
            keys = jax.vmap(jax.random.fold_in, (None, 0))(self.make_rng('dropout'), examples)
        return _APPLY[type(self.stage)](self.stage, x, parameters, keys)


class _Layer(nn.Module):
    layer: Layer
    initialization: Initialization

    @nn.compact
    def __call__(self, x, train, examples, kept):
        for name, stage in self.layer.named_stages():
            x = _Stage(self.layer.number, stage, self.initialization, name=name)(x, train, examples)
            kept[f'{self.layer.name}.{name}'] = x
        kept[self.layer.name] = x
        return x


class Network(nn.Module):
    """Runs `architecture`. init(key, images) -> {'params': ...}; no mutable state.

    apply(variables, images, train=False, taps=(), rngs=None) -> (logits (B, classes) float32, {tap: array (B H W C) or (B F)}).
    images: float, (B H W C) of architecture.input_shape, already preprocessed. Training needs rngs={'dropout': key}; `examples`
    (B,) uint32 names each example's own random stream (default: its place in the batch), so that masks do not depend on how a batch
    is split. dtype is that of the computation; parameters are float32.
    """

    architecture: Architecture
    initialization: Initialization = Initialization()
    dtype: str = 'float32'

    def __call__(self, images, train: bool = False, taps: Sequence[str] = (), examples=None):
        top = self.architecture.layers[-1].name
        kept = self.features(images, tuple(dict.fromkeys((*taps, top))), train, examples)
        return kept[top].astype(jnp.float32), {tap: kept[tap] for tap in taps}

    @nn.compact
    def features(self, images, taps: Sequence[str], train: bool = False, examples=None):
        """{tap: array} alone, running no layer above the highest tap: apply(variables, images, taps=(...), method='features')."""
        check_taps(self.architecture, taps)
        if jnp.issubdtype(images.dtype, jnp.integer):
            raise ArchitectureError(
                f'{self.architecture.name} was given raw images ({images.dtype}), which must be prepared as in its training: '
                'checkpoints.load(WORKDIR).predict(images) and .features(images, taps) do so.'
            )
        if images.shape[1:] != self.architecture.input_shape:
            raise ArchitectureError(f'{self.architecture.name} reads {self.architecture.input_shape} images, not {images.shape[1:]}.')
        if examples is None:
            examples = jnp.arange(images.shape[0], dtype=jnp.uint32)
        x, kept = images.astype(self.dtype), {}
        for layer in self.architecture.layers:
            if not set(taps) - set(kept):
                break
            x = _Layer(layer, self.initialization, name=layer.name)(x, train, examples, kept)
        return {tap: kept[tap] for tap in taps}


def run_stages(layer: Layer, params, x):
    """x (B, H, W, C) or (B, n) through some stages of a layer, as `layer` has them, outside training; params: those of the whole layer."""
    return _Layer(layer, Initialization()).apply({'params': params}, x, False, None, {})


def check_taps(architecture: Architecture, taps: Sequence[str]) -> None:
    """ArchitectureError where a tap names nothing in the architecture."""
    for tap in taps:
        architecture.row(tap)


def check_parameters(architecture: Architecture, params) -> None:
    """ArchitectureError with the first difference unless `params` is {layer: {stage: {name: array}}} as the architecture learns them.

    Every array must have its shape, be float32 and hold finite numbers only.
    """
    found = {(): params}
    for _ in range(3):
        inside = {path: tree.items() if isinstance(tree, Mapping) else [(None, tree)] for path, tree in found.items()}
        found = {(*path, name): leaf for path, items in inside.items() for name, leaf in items}
    ordered = (stage for layer in architecture.layers for stage in layer.stages)
    wanted = {
        (f'layer{row.layer}', row.stage, name): size
        for row, stage in zip(architecture.rows, ordered, strict=True)
        for name, size in stage.parameters(row.input).items()
    }
    for path, size in wanted.items():
        name, leaf = '/'.join(path), found.pop(path, None)
        if leaf is None:
            raise ArchitectureError(f'{architecture.name} learns {name}, which is not among these parameters.')
        if not hasattr(leaf, 'dtype') or leaf.shape != size or leaf.dtype != np.float32:
            what = f'{leaf.dtype} of {leaf.shape}' if hasattr(leaf, 'dtype') else shown(leaf)
            raise ArchitectureError(f'{name} is {what}, but {architecture.name} learns float32 of {size} there.')
        if not np.isfinite(leaf).all():
            raise ArchitectureError(f'{name} holds numbers that are not finite.')
    if found:
        raise ArchitectureError(
            f'{shown([part for part in next(iter(found)) if part is not None])} is no parameter of {architecture.name}.'
        )
