"""What is minimised: functions of (logits (B, classes), labels (B,) int, j) to losses (B,)."""

import jax
import jax.numpy as jnp
import optax


def softmax(logits, labels, j):
    """Multinomial logistic loss, in nats."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def squared_error(outputs, labels, j):
    """Sum over classes of (output - one-hot target)^2."""
    return jnp.sum(jnp.square(outputs - jax.nn.one_hot(labels, outputs.shape[-1])), axis=-1)


def radial_basis(logits, labels, j):
    """LeCun et al. 1998, eq. 9: y_D + log(exp(-j) + sum_i exp(-y_i)), where y, the squared distances, are minus the logits."""
    own = jnp.take_along_axis(logits, labels[:, None], axis=-1)[:, 0]
    return jnp.logaddexp(-j, jax.nn.logsumexp(logits, axis=-1)) - own


LOSSES = {'softmax': softmax, 'squared_error': squared_error, 'radial_basis': radial_basis}
