"""The story: truth, and where the spacecraft stood."""
import numpy as np
import pytest
from pictures import EUVI, make_euv, make_header, make_magnetogram, overlaps, panels, words

from pix2pixcc.utils import UserError
from pix2pixcc.visuals.story import story


def test_the_story_shows_truth_and_where_the_spacecraft_stood(drawn, tmp_path):
    story(tmp_path / "story.png", make_magnetogram(), make_header(), euv=make_euv(1), channels=EUVI[2:],
          truth=make_magnetogram(), spacecraft={"STEREO-A": (87.6, 0.957)})
    assert list(panels(drawn[0]))[:3] == ["EUVI-B 171 Å", "generated magnetogram", "true magnetogram"]
    orbits = drawn[0].axes[-1]
    stood = {text.get_text(): text.xy for text in orbits.texts if hasattr(text, "xy")}
    assert set(stood) == {"Earth", "STEREO-A", "STEREO-B"}
    assert np.degrees(stood["STEREO-B"][0]) == pytest.approx(-94.782)
    assert stood["STEREO-B"][1] == pytest.approx(1.0163)
    assert np.degrees(stood["STEREO-A"][0]) == pytest.approx(87.6)
    assert stood["Earth"] == (0.0, pytest.approx(0.992, abs=0.001))
    assert orbits.get_theta_offset() == pytest.approx(1.5 * np.pi)
    assert all(line.get_fillstyle() == "full" for line in orbits.lines)


@pytest.mark.parametrize(("year", "longitude"), [
    (2008, 28.0), (2009, -47.0), (2011, -94.8), (2012, 130.0), (2014, -160.0), (2023, 1.2)])
def test_names_can_be_read_wherever_the_spacecraft_stand(drawn, tmp_path, year, longitude):
    header = make_header()
    header.update({"DATE-OBS": f"{year}-09-01T00:00:00", "HGLN_OBS": longitude,
                   "OBSRVTRY": "STEREO_B" if longitude < 0 else "STEREO_A"})
    story(tmp_path / "story.png", make_magnetogram(), header)
    placed = words(drawn[0])
    assert overlaps(placed) == []


def test_a_spacecraft_that_nobody_named_is_placed_by_its_orbit_and_drawn_hollow(drawn, tmp_path):
    story(tmp_path / "story.png", make_magnetogram(), make_header())
    orbits = drawn[0].axes[-1]
    stood = {text.get_text(): text.xy for text in orbits.texts if hasattr(text, "xy")}
    assert np.degrees(stood["STEREO-A"][0]) == pytest.approx(87.7, abs=1.0)
    assert [line.get_fillstyle() for line in orbits.lines].count("none") == 1


def test_a_story_without_a_place_is_refused_by_keyword(tmp_path):
    header = make_header()
    del header["HGLN_OBS"]
    with pytest.raises(UserError, match="HGLN_OBS"):
        story(tmp_path / "story.png", make_magnetogram(), header)
