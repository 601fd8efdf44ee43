"""Files of pixels to arrays and back: formats, FITS, cubes, pairs, the check of a data set; none knows the Sun."""
