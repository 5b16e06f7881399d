"""What every stage offers, what its fields may be, and the window through which some of them look."""

from dataclasses import dataclass, fields
from typing import ClassVar

from cnn_research.errors import ArchitectureError, shown

Shape = tuple[int, ...]


def window_count(size: int, kernel: int, stride: int, padding: int, ceil: bool) -> int:
    """Windows along one direction: floor((size + 2 padding - kernel) / stride) + 1, or with ceil as cuda-convnet counts them."""
    span = size + 2 * padding - kernel
    return (-(-span // stride) if ceil else span // stride) + 1


def picture(shape: Shape, stage: str) -> Shape:
    if len(shape) != 3:
        raise ArchitectureError(f'{stage} needs maps (H, W, C), but a stage below has made {shape[0]} features of them.')
    return shape


def _is_number(value) -> bool:
    return type(value) in (int, float) and 0 <= value <= 3e38  # what float32 holds


def _is_row(row) -> bool:
    return isinstance(row, tuple) and row and all(type(i) is int and 0 <= i <= LARGEST for i in row) and len(set(row)) == len(row)


def _whole(low: int, high: int):
    return lambda value: type(value) is int and low <= value <= high, f'a whole number from {low} up to {high}'


LARGEST = 2**31 - 1  # of features and of anything that is counted
_WIDEST = 2**16 - 1  # px, of a window and its steps
# What a field of a stage may be, and how that is said.
_VALID = {
    **dict.fromkeys(('features', 'pointwise'), _whole(1, LARGEST)),
    **dict.fromkeys(('kernel', 'stride', 'groups', 'size', 'cells'), _whole(1, _WIDEST)),
    **dict.fromkeys(('ceil', 'divided', 'across'), (lambda value: type(value) is bool, 'true or false')),
    **dict.fromkeys(('alpha', 'beta', 'k', 'most', 'sharpness'), (_is_number, 'a number from 0 up')),
    'floor': (lambda value: _is_number(value) and 1e-12 <= value <= 1e12, 'a number from 1e-12 up to 1e12'),  # float32 holds its square
    'levels': _whole(1, 16),
    'padding': _whole(0, _WIDEST),
    'rate': (lambda value: _is_number(value) and value < 1, 'a share from 0 to below 1'),
    'table': (lambda value: value is None or (type(value) is tuple and all(map(_is_row, value))), 'rows of map numbers, none twice'),
}


@dataclass(frozen=True)
class Stage:
    """A stage that keeps the shape and learns nothing, unless it says otherwise."""

    role: ClassVar[str]
    name: ClassVar[str]

    def __post_init__(self):
        for field in fields(self):
            value, (valid, meaning) = getattr(self, field.name), _VALID[field.name]
            if not valid(value):
                raise ArchitectureError(f'{self.name} cannot have {field.name}={shown(value)}; it is {meaning}.')

    def output(self, shape: Shape) -> Shape:
        return shape

    def parameters(self, shape: Shape) -> dict[str, Shape]:
        return {}

    def multiply_adds(self, shape: Shape) -> int:
        return 0

    def connections(self, shape: Shape) -> int:
        return 0

    @property
    def reach(self) -> tuple[int, int, int]:
        return 1, 1, 0


@dataclass(frozen=True)
class Windowed(Stage):
    """What convolutions, local connections and pooling share: a square window that steps over a map."""

    def window(self) -> tuple[int, int, int, bool]:
        return self.kernel, self.stride, getattr(self, 'padding', 0), getattr(self, 'ceil', False)

    def spatial(self, shape: Shape) -> Shape:
        height, width, _ = picture(shape, self.name)
        sides = tuple(window_count(side, *self.window()) for side in (height, width))
        if min(sides) < 1:
            kernel, stride, padding, _ = self.window()
            raise ArchitectureError(
                f'{self.name} {kernel}x{kernel}/{stride} with padding {padding} would shrink its {height}x{width} input below 1 px.'
            )
        return sides

    @property
    def reach(self):
        return self.window()[:3]
