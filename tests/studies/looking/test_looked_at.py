"""The network that the looking commands train themselves at their smallest scale has learned something before it is looked at."""

import jax
import pytest

from cnn_research import config as configs
from cnn_research import train
from experiments.launch import recipes


@pytest.mark.slow
def test_the_smallest_network_to_look_into_is_far_from_chance(tmp_path):
    config = configs.update(configs.default(), recipes.load('configs/looking.py:smoke').config)
    run = train.fit(config, tmp_path, devices=jax.local_devices()[:1])
    assert run.result['test']['top1_error'] < 0.5  # 0.9 by chance
