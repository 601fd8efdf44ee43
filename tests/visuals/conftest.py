"""What the tests of pictures share."""
import pytest
from matplotlib.figure import Figure


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved, in order."""
    figures, save = [], Figure.savefig

    def keep(figure, *arguments, **settings):
        save(figure, *arguments, **settings)
        figures.append(figure)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures
