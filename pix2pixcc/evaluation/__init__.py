"""Generated against true magnetograms: metrics, scores of a pair and of a set, the page of figures."""
