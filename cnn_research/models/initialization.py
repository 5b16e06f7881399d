"""How the papers begin: the first value of every learned array."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from cnn_research.stages import Shape, Stage, fan_in


@dataclass(frozen=True)
class Initialization:
    """kernel: a name in KERNELS of fields.py. std: for 'normal'; stds and biases: (layer number, value) pairs for layers that differ."""

    kernel: str = 'he'
    std: float = 0.01
    stds: tuple[tuple[int, float], ...] = ()
    biases: tuple[tuple[int, float], ...] = ()


def initial(how: Initialization, key: jax.Array, layer: int, stage: Stage, name: str, shape: Shape) -> jax.Array:
    """The first value of a stage's parameter `name`; float32. The stage reads `shape` (without B)."""
    size = stage.parameters(shape)[name]
    if name == 'bias':
        return jnp.full(size, dict(how.biases).get(layer, 0.0), jnp.float32)
    if name == 'coefficient':  # LeNet-5's subsampling: its fan-in is the window; elsewhere it starts as an average
        inputs = jnp.full(size, stage.kernel**2, jnp.float32)
        if how.kernel != 'uniform':
            return 1 / inputs
    else:
        inputs = jnp.asarray(fan_in(stage, shape, name), jnp.float32)
    if how.kernel == 'normal':
        return dict(how.stds).get(layer, how.std) * jax.random.normal(key, size)
    if how.kernel == 'he':
        return jnp.sqrt(2 / inputs) * jax.random.normal(key, size)
    bound = 2.4 / inputs if how.kernel == 'uniform' else jnp.sqrt(3 / inputs)
    return bound * jax.random.uniform(key, size, minval=-1.0, maxval=1.0)
