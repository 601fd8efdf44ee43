"""A Sun whose farside is known: field, corona, observers, raw files and data sets."""
