"""A Sun whose farside is known: field, corona, cameras, raw files and data sets."""
