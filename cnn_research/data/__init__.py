"""Where examples come from. What may become of their pixels stands here, where naming it costs no import."""

NORMALIZATIONS = {
    'none': 'grey levels 0 to 255 as they are',
    'unit': 'grey levels divided by 255',
    'mean_image': 'the mean of each pixel subtracted, in grey levels (Krizhevsky 2012, Zeiler and Fergus 2013, cuda-convnet)',
    'channel_mean': 'the mean of each channel subtracted, in grey levels',
    'mean_std': 'each channel brought to mean 0 and standard deviation 1',
    'lenet': 'background -0.1, ink 1.175 (LeCun 1998)',
}
WIDTHS = (10, 12, 14, 16, 18, 20)  # px, of digits (Ciresan et al. 2012)
PREPROCESSINGS = {
    'none': 'the image as its source gives it',
    **{f'width_{width}': f'digits: the box around the ink {width} px wide, its height kept (Ciresan et al. 2012)' for width in WIDTHS},
    'deskewed': 'digits: sheared by their second moments, so that they stand upright (LeCun et al. 1998)',
    'histeq': 'the histogram of lightness made flat (Ciresan et al. 2012)',
    'adapthisteq': 'the same within tiles, of an eighth of a side (Ciresan et al. 2012)',
    'imadjust': 'lightness stretched, so that 1 % is saturated at both ends (Ciresan et al. 2012)',
    'contrast_normalization': 'lightness filtered by a difference of Gaussians of 5 x 5 px (Ciresan et al. 2012)',
}
