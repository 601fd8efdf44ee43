"""pix2pixCC: farside magnetograms of the Sun from extreme-ultraviolet images."""
