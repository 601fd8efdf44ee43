"""Files of pixels to arrays and back: formats, FITS, cubes and their cards, pairs, the check of a data set. Nothing here knows the Sun."""
