"""The Sun in a FITS file: instruments, geometry, observations and their quality, headers, registration, orbits."""
