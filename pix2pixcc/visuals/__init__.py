"""Pictures: panels, sheets, loss curves, the gallery page of a run."""
