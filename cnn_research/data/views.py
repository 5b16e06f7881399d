"""Several views of each image of a source, as sources of their own (Razavian et al. 2014, section 2)."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from cnn_research.data.source import Source, sha256

VIEWS = {
    'centre': 'the image as it is',
    'sixteen': 'the image, its four corners and its centre with 4/9 of the area, itself turned by 15 degrees to either side, all mirrored',
}
_SHARE = 2 / 3  # of each side
_DEGREES = 15.0
_PLACES = (None, (0, 0), (0, 1), (1, 0), (1, 1), (0.5, 0.5))  # of a cut: shares of the way down and to the right that are left


def views(source: Source, which: str) -> list[Source]:
    """The source once for each of its views, the image as it is first.

    which: of VIEWS. Cuts are enlarged to the size of their image (bilinear, antialiased); what a turned image lacks at its corners is
    filled with its mean colour. The angle is not printed in the paper: 15 degrees stand here.
    """
    if which == 'centre':
        return [source]
    kinds = [(place, 0.0) for place in _PLACES] + [(None, _DEGREES), (None, -_DEGREES)]
    made = [_View(source.read, place, degrees, mirrored) for mirrored in (False, True) for place, degrees in kinds]
    return [source, *(_seen(source, view) for view in made[1:])]


def _seen(source, view):
    words = f'view {view.place} {view.degrees} {view.mirrored}'
    return replace(source, read=view, fingerprint=sha256(source.fingerprint.encode(), words.encode()))


@dataclass(frozen=True, eq=False)
class _View:
    """What a source reads, seen otherwise."""

    read: Callable
    place: tuple[float, float] | None
    degrees: float
    mirrored: bool

    @property
    def channels(self):
        return getattr(self.read, 'channels', None)

    def __call__(self, indices):
        images, labels = self.read(indices)
        return [self._image(image) for image in images], labels

    def labels(self, indices):
        known = getattr(self.read, 'labels', None)
        return known(indices) if known else self.read(indices)[1]

    def _image(self, image):
        height, width, channels = image.shape
        picture = Image.fromarray(image[..., 0] if channels == 1 else image)
        if self.place:
            rows, columns = max(1, round(_SHARE * height)), max(1, round(_SHARE * width))
            top, left = round(self.place[0] * (height - rows)), round(self.place[1] * (width - columns))
            picture = picture.resize((width, height), Image.Resampling.BILINEAR, (left, top, left + columns, top + rows))
        if self.degrees:
            mean = tuple(round(float(value)) for value in image.reshape(-1, channels).mean(0))
            picture = picture.rotate(self.degrees, Image.Resampling.BILINEAR, fillcolor=mean if channels > 1 else mean[0])
        found = np.asarray(picture).reshape(height, width, channels)
        return np.ascontiguousarray(found[:, ::-1]) if self.mirrored else found
