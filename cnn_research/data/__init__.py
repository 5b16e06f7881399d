"""Where examples come from. What may become of their pixels stands here, where naming it costs no import."""

NORMALIZATIONS = {
    'none': 'grey levels 0 to 255 as they are',
    'unit': 'grey levels divided by 255',
    'mean_image': 'the mean of each pixel subtracted, in grey levels (Krizhevsky 2012, Zeiler and Fergus 2013, cuda-convnet)',
    'channel_mean': 'the mean of each channel subtracted, in grey levels',
    'mean_std': 'each channel brought to mean 0 and standard deviation 1',
    'lenet': 'background -0.1, ink 1.175 (LeCun 1998)',
}
