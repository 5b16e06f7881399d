"""What a signal from above does on its way down through a stage, where that is not the stage's own gradient.

`Projecting` stands for a stage in an architecture that only explains a trained network: it has the stage's name, shapes and forward
pass, so that taps and parameters keep their names and values. It is none of architecture.STAGES: no command line can name it and no
checkpoint hold it.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from cnn_research.stages import Stage

RULES = ('deconvnet', 'gradient', 'guided')

# What becomes of the signal g, where x went up: by role and rule. Whatever is not here follows the gradient.
_DOWN = {
    ('nonlinearity', 'deconvnet'): lambda x, g: jnp.maximum(g, 0),  # Zeiler and Fergus 2013, 2.1: whatever the forward sign was
    ('nonlinearity', 'guided'): lambda x, g: jnp.where(x > 0, jnp.maximum(g, 0), 0),  # Springenberg et al. 2014, 3.4: both signs
    ('normalization', 'deconvnet'): lambda x, g: g,  # the paper defines no inverse
}


@dataclass(frozen=True)
class Projecting(Stage):
    """`upward` on the way up; its signal comes down by `rule`, one of RULES."""

    upward: Stage
    rule: str
    role = property(lambda self: self.upward.role)
    name = property(lambda self: self.upward.name)

    def __post_init__(self):  # both fields are chosen by surgery, never by a user
        assert self.rule in RULES and self.upward.role in ('nonlinearity', 'normalization')

    def output(self, shape):
        return self.upward.output(shape)

    @property
    def reach(self):
        return self.upward.reach


def through(stage: Projecting, forward: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """forward(x), the same array to the last bit, whose vector-Jacobian product follows the stage's rule."""
    down = _DOWN.get((stage.role, stage.rule))
    return forward(x) if down is None else _redirected(forward, down, x)


# A rule is no derivative of the forward pass, so it cannot be had from it: as a custom_vjp it needs neither hooks, which miss a
# nonlinearity that is reused, nor a second network to keep equal to the first.
@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _redirected(forward, down, x):
    return forward(x)


_redirected.defvjp(lambda forward, down, x: (forward(x), x), lambda forward, down, x, g: (down(x, g),))
