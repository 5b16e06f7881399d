"""Where the tests find real data: the folder named by CNN_RESEARCH_DATA, else ../shared/data beside the checkout."""

import os
import pathlib
import tempfile

import pytest

os.environ.setdefault('XLA_FLAGS', '--xla_force_host_platform_device_count=4')
# Programs that run for milliseconds are compiled for as long as it takes, so with few optimizations here. With
# JAX_DISABLE_MOST_OPTIMIZATIONS=0 the tests run what a training runs.
os.environ.setdefault('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')
# Most of the suite's time is compilation, much of it of the same programs, in other processes too: they share a cache for this session,
# which the first of pytest's processes makes.
_CACHE = None if 'PYTEST_XDIST_WORKER' in os.environ else tempfile.TemporaryDirectory(prefix='compiled-')
if _CACHE:
    os.environ['JAX_COMPILATION_CACHE_DIR'] = _CACHE.name
os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0.05'
os.environ['JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES'] = '-1'


def pytest_sessionfinish():
    if _CACHE:
        _CACHE.cleanup()


@pytest.fixture(scope='session')
def data_dir() -> pathlib.Path:
    default = pathlib.Path(__file__).resolve().parents[2] / 'shared' / 'data'
    folder = pathlib.Path(os.environ.get('CNN_RESEARCH_DATA', default))
    if not folder.is_dir():
        pytest.skip(f'no data sets under {folder}; set CNN_RESEARCH_DATA to a folder in TFDS layout')
    return folder
