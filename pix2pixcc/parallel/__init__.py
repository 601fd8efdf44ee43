"""Processes, ranks and signals: devices, launching, loading, workers, the background writer."""
