"""Pictures: panels, sheets, the story of a product, loss curves, the gallery page of a run."""
