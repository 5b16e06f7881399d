"""Numbers that a field gives as text are read as they are meant, or refused on one line."""

import pytest

from cnn_research import config as configs
from cnn_research.errors import ConfigError


def test_numbers_of_another_kind_and_bound():
    assert configs.numbers('1e-6, 0.5,2', 'probe.costs', float) == (1e-6, 0.5, 2) and configs.numbers('', 'x') == ()
    for text, kind, low, message in (
        ('1,5', int, 2, 'names 1'),
        ('', int, 1, 'names nothing'),
        ('5,3', int, None, 'rising'),
        ('-1,3', int, None, 'rising'),
        ('1,inf', float, None, 'rising'),
    ):
        with pytest.raises(ConfigError, match=message):
            configs.numbers(text, 'x', kind, low)
