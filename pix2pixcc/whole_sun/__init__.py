"""Maps of the whole Sun at one moment, from magnetograms of several observers, and the corona above them."""
