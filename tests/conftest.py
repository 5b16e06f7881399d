"""Where the tests find real data: the folder named by CNN_RESEARCH_DATA, else ../shared/data beside the checkout."""

import os
import pathlib

os.environ.setdefault('XLA_FLAGS', '--xla_force_host_platform_device_count=4')

import pytest


@pytest.fixture(scope='session')
def data_dir() -> pathlib.Path:
    default = pathlib.Path(__file__).resolve().parents[2] / 'shared' / 'data'
    folder = pathlib.Path(os.environ.get('CNN_RESEARCH_DATA', default))
    if not folder.is_dir():
        pytest.skip(f'no data sets under {folder}; set CNN_RESEARCH_DATA to a folder in TFDS layout')
    return folder
