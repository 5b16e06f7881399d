"""A schedule of another length: its parts go with it unless they are named, and what does not fit is refused with what does."""

import pytest

from cnn_research import config as configs
from cnn_research import optimizers
from cnn_research.errors import ConfigError
from experiments.launch import command, recipes

SCALED = [(file, scale) for file, path in recipes.shipped().items() for scale in recipes.scales(path)]


def parsed(*arguments, config='configs/zfnet.py:smoke'):
    return command.parse('train', config, [f'--config.{argument}' for argument in arguments])


@pytest.mark.parametrize(('file', 'scale'), SCALED)
@pytest.mark.parametrize('factor', [0.03, 0.5, 3])
def test_a_recipe_of_another_length_keeps_the_shares_of_its_parts(file, scale, factor):
    recipe = configs.update(configs.default(), recipes.load(f'{file}:{scale}').config)
    epochs = recipe.schedule.epochs * factor
    other = parsed(f'schedule.epochs={epochs}', config=f'{file}:{scale}').config
    assert other.schedule.epochs == pytest.approx(epochs)
    for part in ('warmup', 'cooldown'):
        assert other.schedule[part].epochs == pytest.approx(recipe.schedule[part].epochs * factor, rel=1e-8)
    drops = [configs.by_layer(one.schedule.drops) for one in (recipe, other)]
    assert [at * factor for at in drops[0]] == pytest.approx(list(drops[1])) and list(drops[0].values()) == list(drops[1].values())
    total = configs.steps(other.schedule, other.data.batch_size, 36013)
    optimizers.schedule(other, total, other.data.batch_size, 36013)  # fits


def test_the_same_length_and_what_is_named_stay_as_they_are():
    recipe = configs.flat(parsed().config)
    assert configs.flat(parsed('schedule.epochs=6').config) == recipe and parsed('schedule.epochs=6').notes == ()
    assert parsed('optimizer.learning_rate=1').notes == ()
    given = parsed('schedule.epochs=3', 'schedule.warmup.epochs=0.5')
    assert (given.config.schedule.warmup.epochs, given.config.schedule.cooldown.epochs) == (0.5, 2.0)
    assert given.notes == (
        'schedule.epochs=3 (the recipe: 6 epochs): the parts of its schedule keep their shares, schedule.cooldown.epochs=2.0; '
        'name them for others',
    )
    none = parsed('schedule.epochs=1', 'schedule.warmup.epochs=0', 'schedule.cooldown.steps=3').config.schedule
    assert (none.warmup.epochs, none.cooldown.epochs, none.cooldown.steps) == (0, 0, 3)


@pytest.mark.parametrize('unit', ['steps', 'examples'])
@pytest.mark.parametrize('length', [1, 7, 10, 600])
def test_a_length_in_another_unit_takes_its_parts_along(unit, length):
    schedule = parsed(f'schedule.{unit}={length}').config.schedule
    parts = [schedule[part][unit] for part in ('warmup', 'cooldown')]
    assert parts == [int(length * 0.5 / 6 + 1e-6), int(length * 4 / 6 + 1e-6)] and sum(parts) <= length
    assert [schedule.epochs, schedule.warmup.epochs, schedule.cooldown.epochs] == [0, 0, 0]


def test_a_length_that_cannot_be_read_and_parts_that_do_not_fit():
    with pytest.raises(ConfigError, match='schedule.epochs=long is not a number'):
        parsed('schedule.epochs=long')
    config = parsed('schedule.epochs=3', 'schedule.warmup.epochs=2', 'schedule.cooldown.epochs=2').config
    with pytest.raises(ConfigError, match=r'what fits is together at most 60 steps, 3 epochs'):
        optimizers.schedule(config, 60, 10, 200)
