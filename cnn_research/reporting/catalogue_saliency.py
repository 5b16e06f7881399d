"""What is said of saliency methods: that each shows where a network looks, and which of them points better."""

from cnn_research.reporting.catalogue import Entry, number

_DECIDES = 'experiments.saliency, on the boxes of clutter, which is a demonstration'


def _pointing(method: str, value: float):
    return number(f'{method}: pointing game, VOC 2007, VGG-16', value, 'verified-2nd', '%')


ENTRIES = (
    Entry(
        'fong.grad-cam',
        'Grad-CAM points better than methods that come down to the pixels.',
        'Table 1',
        _DECIDES,
        printed=(_pointing('Grad-CAM', 86.6), _pointing('gradient', 76.3), _pointing('guided backpropagation', 75.9)),
        patterns=('Grad-CAM points better than what comes down to the pixels\\.',),
    ),
    Entry(
        'fong.gradient',
        "The gradient points better than the deconvnet's signal.",
        'Table 1',
        _DECIDES,
        printed=(_pointing('gradient', 76.3), _pointing('deconvnet', 67.5)),
        patterns=("The gradient points better than the deconvnet's signal\\.",),
    ),
    Entry(
        'own.saliency.chance',
        "More of a method's map lies on the object than of a map of noise.",
        '-',
        _DECIDES,
        patterns=("(?P<subject>.*): more of its map lies in the digit's box than of a map of noise\\.",),
    ),
    Entry(
        'own.saliency.centre',
        'Methods against a map that only knows that things stand in the middle.',
        '-',
        _DECIDES,
        patterns=('Against a map that only knows that things stand in the middle\\.',),
    ),
    Entry(
        'own.saliency.image',
        'What a product with the image adds to the image alone.',
        '-',
        _DECIDES,
        patterns=('What a product with the image adds to the image alone, .*',),
    ),
)
