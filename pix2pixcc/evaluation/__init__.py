"""Generated against true magnetograms: pairs of files, metrics, scores of a pair and of a set, report, figures."""
