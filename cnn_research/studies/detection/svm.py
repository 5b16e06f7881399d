"""A linear SVM with the hinge loss and a weight for each example, on the accelerator.

It minimises 1/2 |w|^2 + 1/2 v^2 + sum of c_i max(0, 1 - y_i (w x_i + B v)), as liblinear's solver 3 does with the option -B, in the dual:
one alpha between 0 and c_i for an example, changed one after the other (Hsieh et al. 2008, algorithm 1), in blocks whose inner products
are held, so that the accelerator sees products of matrices with vectors. Where there are few features and many examples, which no plane
tells apart, that creeps; there an interior point method takes a few dozen steps, each a system of as many unknowns as features (Ferris &
Munson 2002, section 2). Either way, what the dual is below the primal bounds what is left to gain.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

TOLERANCE = 1e-4  # a fit has settled where the duality gap is at most this share of the objective
EPOCHS = 1000  # at most
_BLOCK = 128  # examples
_BETWEEN = 5  # epochs before the gap is measured
FEW = 512  # features, up to which the interior point method is used
_STEPS, _SHARE = 100, 0.995  # of that method: at most, and how much of the way to the border one goes
_TINY = 1e-12


class Fit(NamedTuple):
    """weights: float32 (D,); bias: what is added, B v; alphas: (N,), those of the examples; objective, and gap as a share of it."""

    weights: np.ndarray
    bias: float
    alphas: np.ndarray
    objective: float
    gap: float


def fit(rows: np.ndarray, signs: np.ndarray, costs: np.ndarray, bias: float = 1.0, start: np.ndarray | None = None) -> Fit:
    """The SVM of examples rows (N, D), float32, of classes signs (N,), 1 or -1, with costs (N,), beginning from alphas `start` (N,).

    Sizes are filled up to powers of two, so that few are compiled.
    """
    count = len(rows)
    size = max(_BLOCK, 1 << (count - 1).bit_length())
    if size > count:
        rows = np.concatenate([rows, np.zeros((size - count, rows.shape[1]), np.float32)])
    # Neighbouring windows are alike: in one block they would wait for each other.
    order = np.concatenate([np.random.Generator(np.random.Philox(key=count)).permutation(count), np.arange(count, size)])

    def filled(values):
        return np.concatenate([np.asarray(values, np.float32), np.zeros(size - count, np.float32)])[order]

    arrays = rows, order, filled(signs), filled(costs), np.float32(bias)
    if rows.shape[1] <= FEW:
        with jax.enable_x64(True):
            found = [np.asarray(array) for array in _interior(*arrays, count)]
    else:
        found = map(np.asarray, _minimise(*arrays, filled(np.zeros(count) if start is None else start), count))
    weights, last, alphas, objective, gap = found
    back = np.empty(size, np.float32)
    back[order] = alphas.ravel()
    return Fit(weights, float(bias * last), back[:count], float(objective), float(gap / max(objective, _TINY)))


@jax.jit
def _minimise(rows, order, signs, costs, bias, alphas, count):
    """(w, v, alphas, objective, gap); order (N,) of the rows (N, D) is that of all else; the first `count` are examples."""
    blocks = rows[order].reshape(-1, _BLOCK, rows.shape[1])
    signs, costs, alphas = (values.reshape(-1, _BLOCK) for values in (signs, costs, alphas))
    used = -(-count // _BLOCK)
    product = functools.partial(jnp.einsum, precision='highest')
    inner = (product('jad,jbd->jab', blocks, blocks) + bias**2) * signs[:, :, None] * signs[:, None, :]
    lengths = jnp.maximum(jnp.diagonal(inner, axis1=1, axis2=2), _TINY)

    def visit(block, state):
        alphas, weights, last = state
        slope = signs[block] * (product('ad,d->a', blocks[block], weights) + bias * last) - 1

        def change(place, state):
            own, slope = state
            new = jnp.clip(own[place] - slope[place] / lengths[block, place], 0, costs[block, place])
            return own.at[place].set(new), slope + inner[block, place] * (new - own[place])

        own, _ = jax.lax.fori_loop(0, _BLOCK, change, (alphas[block], slope))
        steps = signs[block] * (own - alphas[block])
        return alphas.at[block].set(own), weights + product('a,ad->d', steps, blocks[block]), last + bias * jnp.sum(steps)

    def epoch(number, state):
        random = jax.random.uniform(jax.random.fold_in(jax.random.key(0), number), (len(blocks),))
        visits = jnp.argsort(jnp.where(jnp.arange(len(blocks)) < used, random, 2))
        return jax.lax.fori_loop(0, used, lambda place, state: visit(visits[place], state), state)

    def measured(alphas):
        # The weights from their definition: rounding of many steps is gone.
        weights, last = product('ja,jad->d', signs * alphas, blocks), bias * jnp.sum(signs * alphas)
        length = (product('d,d->', weights, weights) + last**2) / 2
        slack = jnp.maximum(0, 1 - signs * (product('jad,d->ja', blocks, weights) + bias * last))
        objective = length + jnp.sum(costs * slack)
        return alphas, weights, last, objective, objective - jnp.sum(alphas) + length

    def advance(state):
        number, alphas, weights, last, _, _ = state
        state = jax.lax.fori_loop(number, number + _BETWEEN, epoch, (alphas, weights, last))
        return number + _BETWEEN, *measured(state[0])

    begin = (0, *measured(jnp.clip(alphas, 0, costs)))
    found = jax.lax.while_loop(lambda state: (state[0] < EPOCHS) & (state[5] > TOLERANCE * state[4]), advance, begin)
    _, alphas, weights, last, objective, gap = found
    return weights, last, alphas, objective, gap


@jax.jit
def _interior(rows, order, signs, costs, bias, count):
    """As `_minimise`, from the middle of the box, in float64: a predictor and a corrector for each step (Mehrotra)."""
    used = jnp.arange(len(signs)) < count
    planes = jnp.concatenate([rows[order].astype(jnp.float64), jnp.full((len(rows), 1), bias, jnp.float64)], axis=1)
    # What fills up is 0 everywhere but in its cost, and changes nothing.
    planes, costs = planes * signs.astype(jnp.float64)[:, None], jnp.where(used, costs.astype(jnp.float64), 1)

    def direction(state, residual, below, above):
        """Of alphas and both multipliers, to a residual of 0 and the given products with the distances to the box's two sides."""
        alphas, lower, upper = state
        room = costs - alphas
        stiff = lower / alphas + upper / room
        right = (-residual + (below / alphas - lower) - (above / room - upper)) / stiff
        system = jnp.eye(planes.shape[1]) + planes.T @ (planes / stiff[:, None])
        factor = jax.scipy.linalg.cho_factor(system)
        step = right - (planes @ jax.scipy.linalg.cho_solve(factor, planes.T @ right)) / stiff
        return step, (below - lower * (alphas + step)) / alphas, (above - upper * (room - step)) / room

    def length(state, steps):
        (alphas, lower, upper), (step, down, up) = state, steps
        values, changes = jnp.stack([alphas, costs - alphas, lower, upper]), jnp.stack([step, -step, down, up])
        return jnp.minimum(1, _SHARE * jnp.min(jnp.where(changes < 0, -values / changes, jnp.inf)))

    def middle(state):
        alphas, lower, upper = state
        return (jnp.sum(alphas * lower) + jnp.sum((costs - alphas) * upper)) / (2 * len(alphas))

    def measured(alphas):
        alphas = jnp.where(used, alphas, 0)
        weights = planes.T @ alphas
        half = weights @ weights / 2
        objective = half + jnp.sum(jnp.where(used, costs * jnp.maximum(0, 1 - planes @ weights), 0))
        return objective, objective - jnp.sum(alphas) + half

    def advance(looped):
        number, state, _, _ = looped
        alphas, lower, upper = state
        residual = planes @ (planes.T @ alphas) - 1 - lower + upper
        ahead = direction(state, residual, 0.0, 0.0)
        full = length(state, ahead)
        reached = middle(tuple(value + full * step for value, step in zip(state, ahead, strict=True)))
        target = (reached / middle(state)) ** 3 * middle(state)
        steps = direction(state, residual, target - ahead[0] * ahead[1], target + ahead[0] * ahead[2])
        full = length(state, steps)
        state = tuple(value + full * step for value, step in zip(state, steps, strict=True))
        return number + 1, state, *measured(state[0])

    state = costs / 2, jnp.ones_like(costs), jnp.ones_like(costs)
    looped = 0, state, *measured(state[0])
    looped = jax.lax.while_loop(lambda looped: (looped[0] < _STEPS) & (looped[3] > TOLERANCE / 10 * looped[2]), advance, looped)
    alphas, objective, gap = looped[1][0], *looped[2:]
    weights = planes.T @ jnp.where(used, alphas, 0)
    narrow = [value.astype(jnp.float32) for value in (weights[:-1], weights[-1], alphas)]
    return *narrow, objective, gap
