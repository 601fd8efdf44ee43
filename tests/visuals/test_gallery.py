"""The page of a run: what it holds, that hostile names do no harm, and that it works in a real browser from file://."""
import json
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from PIL import Image

from pix2pixcc.utils import UserError
from pix2pixcc.visuals.gallery import gallery

HOSTILE = "<script>window.harmed=1<script>\"'&amp; 100% #1 \n_AI"


def make_run(folder, iterations=range(100, 1100, 100)):
    """A run's folder as training and generation leave it."""
    train = folder / "Image" / "Train"
    train.mkdir(parents=True)
    for iteration in iterations:
        for kind in ("sheet", "real", "fake"):
            Image.new("RGB", (64, 32) if kind == "sheet" else (16, 16), "navy").save(train / f"{iteration}_{kind}.png")
    Image.new("RGB", (80, 40), "white").save(folder / "losses.png")
    (folder / "losses.csv").write_text("iteration,epoch,lr,loss_G,val_cc_binned\n"
                                       "900,1,0.0002,5.125,0.8125\n1000,1,0.0002,4.25,\n")
    (folder / "best.json").write_text(json.dumps({"iteration": 900, "network": "G", "cc_binned": 0.8125}))
    options = {"n_gf": 40, "dataset_name": "<b>bold</b>"}
    (folder / "options.json").write_text(json.dumps({"version": "1.0.0", "options": options}))
    for iteration in (900, 1000):
        test = folder / "Image" / "Test" / str(iteration)
        test.mkdir(parents=True)
        for name in ("sun_20110215_AI", HOSTILE):
            (test / f"{name}.fits").write_bytes(b"")
            Image.new("RGB", (48, 24), "grey").save(test / f"{name}.png")
    return folder


@pytest.fixture
def run_folder(tmp_path):
    return make_run(tmp_path / "my run #1")


class Addresses(HTMLParser):
    """The tags of a page, and every address in it."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.found = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.found += [value for name, value in attrs if name in ("src", "href")]


def test_every_address_is_relative_and_leads_to_a_file_of_the_run(run_folder):
    addresses = Addresses(gallery(run_folder).read_text()).found
    files = [address for address in addresses if not address.startswith(("#", "data:"))]
    assert len(files) > 15
    for address in files:
        assert not re.match(r"\w+:|//|/", address)
        assert (run_folder / unquote(address.split("?")[0])).exists()


def test_names_are_shown_as_they_are_and_never_become_tags(run_folder):
    page = gallery(run_folder).read_text()
    assert Addresses(page).tags.count("script") == 2
    assert "&lt;script&gt;window.harmed=1" in page
    assert "&lt;b&gt;bold&lt;/b&gt;" in page


def test_what_is_not_a_sample_is_not_taken_for_one(run_folder):
    Image.new("RGB", (4, 4)).save(run_folder / "Image" / "Train" / "100_sheet_<!--<script>&.png")
    page = gallery(run_folder).read_text()
    assert Addresses(page).tags.count("script") == 2
    assert json.loads(re.search(r'id="data">(.*)</script>', page)[1])["samples"][0] == {
        "iteration": 100, **{kind: f"Image/Train/100_{kind}.png" for kind in ("sheet", "real", "fake")}}


def test_nothing_that_stands_in_a_record_can_leave_the_data_element(run_folder):
    (run_folder / "best.json").write_text(json.dumps({"iteration": "</script><script>window.harmed=1</script>"}))
    assert Addresses(gallery(run_folder).read_text()).tags.count("script") == 2


def test_an_empty_folder_gives_a_page_that_says_what_is_missing(tmp_path):
    page = gallery(tmp_path).read_text()
    for words in ("No sample pictures yet", "No loss curves yet", "Nothing generated yet", "No options.json"):
        assert words in page


def test_a_folder_that_is_not_there_is_refused_by_name(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        gallery(tmp_path / "missing")


def test_damaged_records_are_left_out(run_folder):
    for name in ("options.json", "best.json"):
        (run_folder / name).write_text("{")
    (run_folder / "losses.csv").write_bytes(b"\xff\x00")
    page = gallery(run_folder).read_text()
    assert "No options.json" in page
    assert "No best checkpoint" in page


def test_files_that_are_still_being_written_are_not_shown(run_folder):
    (run_folder / "Image" / "Train" / ".part-1_sheet.png").write_bytes(b"")
    assert ".part-" not in gallery(run_folder).read_text()


def test_each_product_stands_once_with_its_preview(run_folder):
    page = gallery(run_folder).read_text()
    assert page.count("sun_20110215_AI.fits</a>") == 2
    assert page.count('<img src="Image/Test/1000/sun_20110215_AI.png"') == 1


def test_products_of_the_average_stand_by_themselves(tmp_path):
    for name in ("100", "100_ema"):
        (tmp_path / "Image/Test" / name).mkdir(parents=True)
        (tmp_path / "Image/Test" / name / "a_AI.fits").touch()
    page = gallery(tmp_path).read_text()
    assert "<summary>iteration 100 <small>" in page and "<summary>iteration 100, moving average <small>" in page


@pytest.mark.parametrize(("product", "picture"), [
    ("a_AI.fits.gz", "a_AI.png"), ("a_AI.npy", "a_AI.jpg"), ("a_AI.tif", "a_AI.png"), ("a_AI.png", "a_AI.preview.png"),
    ("a_AI.png", None)])
def test_the_picture_beside_a_product_is_found_whatever_their_formats(tmp_path, product, picture):
    test = tmp_path / "Image" / "Test" / "100"
    test.mkdir(parents=True)
    for name in filter(None, (product, picture)):
        (test / name).touch()
    page = gallery(tmp_path).read_text()
    assert page.count("<figcaption>") == 1
    assert f">{product}</a></figcaption>" in page
    assert f'<img src="Image/Test/100/{picture or product}"' in page


def test_a_checkpoint_with_thousands_of_products_lists_five_hundred(tmp_path):
    test = tmp_path / "Image" / "Test" / "100"
    test.mkdir(parents=True)
    for k in range(1200):
        (test / f"{k}_AI.fits").touch()
    page = gallery(tmp_path).read_text()
    assert page.count("<figcaption>") == 500
    assert "and 700 more" in page


def test_without_products_only_their_folders_are_linked_and_none_is_read(run_folder, monkeypatch):
    """As a training writes the page, every few seconds, beside however many products."""
    read, scandir = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: read.append(Path(path).name) or scandir(path))
    page = gallery(run_folder, with_products=False).read_text()
    assert read == ["Train", "Test"] and "sun_20110215" not in page
    assert [address for address in Addresses(page).found if address.startswith("Image/Test")] \
        == ["Image/Test/1000/", "Image/Test/900/"]
    assert "sun_20110215" in gallery(run_folder).read_text() and "1000" in read


def test_a_page_of_500_sample_images_stays_small(tmp_path):
    train = tmp_path / "Image" / "Train"
    train.mkdir(parents=True)
    for iteration in range(500):
        for kind in ("sheet", "real", "fake"):
            (train / f"{iteration}_{kind}.png").touch()
    assert gallery(tmp_path).stat().st_size < 200_000


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    for program in ("chromium", "chromedriver"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (Debian: apt-get install chromium chromium-driver)")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed (pip install selenium)")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                 "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
                 "--window-size=1400,1000", f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    driver.set_page_load_timeout(60)
    yield driver
    driver.quit()


def open_page(browser, folder):
    index = gallery(folder)
    browser.get("about:blank")
    browser.get_log("performance")
    browser.get(index.as_uri())
    return Page(browser)


class Page:
    """What a visitor sees of the page, and what he can do."""

    def __init__(self, browser):
        self.browser = browser

    def find(self, selector):
        return self.browser.find_element("css selector", selector)

    def press(self, key):
        from selenium.webdriver.common.keys import Keys

        self.find("body").send_keys(getattr(Keys, key))

    def wait_for(self, condition):
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.browser, 20, poll_frequency=0.02).until(lambda _: condition())

    def drawn(self):
        """Address, width and completeness of each picture on the stage, as the browser has decoded them."""
        return self.browser.execute_script("""
            return [...document.querySelectorAll('#stage img')].map((image) => {
                return [image.getAttribute('src'), image.naturalWidth, image.complete];
            });""")

    def requests(self):
        """Every address that the browser has asked for since the page was opened."""
        messages = [json.loads(entry["message"])["message"] for entry in self.browser.get_log("performance")]
        return [message["params"]["request"]["url"] for message in messages
                if message["method"] == "Network.requestWillBeSent"]

    def stands_at(self, iteration, kinds):
        names = [f"Image/Train/{iteration}_{kind}.png" for kind in kinds]
        self.wait_for(lambda: [source for source, _, _ in self.drawn()] == names)
        assert all(width > 0 and complete for _, width, complete in self.drawn())
        assert self.find("#iteration").text.startswith(f"iteration {iteration}")


def test_the_slider_and_the_arrow_keys_go_through_the_iterations(browser, run_folder):
    page = open_page(browser, run_folder)
    page.stands_at(1000, ["sheet"])
    page.press("ARROW_LEFT")
    page.stands_at(900, ["sheet"])
    assert page.find("#iteration").text == "iteration 900 (best)"
    page.press("HOME")
    page.stands_at(100, ["sheet"])
    page.press("ARROW_LEFT")
    page.stands_at(100, ["sheet"])
    page.press("ARROW_RIGHT")
    page.stands_at(200, ["sheet"])
    browser.execute_script(
        "const s = document.getElementById('slider'); s.value = 6; s.dispatchEvent(new Event('input'));")
    page.stands_at(700, ["sheet"])
    page.press("END")
    page.stands_at(1000, ["sheet"])


def test_real_and_generated_stand_side_by_side_on_request(browser, run_folder):
    page = open_page(browser, run_folder)
    page.find("#show-plain").click()
    page.stands_at(1000, ["real", "fake"])
    page.press("ARROW_LEFT")
    page.stands_at(900, ["real", "fake"])
    captions = browser.find_elements("css selector", "#stage figcaption")
    assert [caption.text for caption in captions] == ["real", "generated"]
    page.find("#show-sheet").click()
    page.stands_at(900, ["sheet"])


def test_play_runs_to_the_last_iteration_and_stops(browser, tmp_path):
    page = open_page(browser, make_run(tmp_path / "short", range(100, 400, 100)))
    page.stands_at(300, ["sheet"])
    page.find("#play").click()
    page.wait_for(lambda: page.find("#iteration").text == "iteration 100")
    page.wait_for(lambda: page.find("#play").text == "play")
    page.stands_at(300, ["sheet"])


def test_latest_and_best_stand_at_the_top_with_their_figures(browser, run_folder):
    open_page(browser, run_folder)
    latest, best = (browser.find_element("id", name) for name in ("latest", "best"))
    assert "iteration 1000" in latest.text
    assert "4.25" in latest.text
    assert "iteration 900" in best.text
    assert "0.8125" in best.text
    assert best.find_element("tag name", "img").get_attribute("src").endswith("/Image/Train/900_sheet.png")
    assert best.location["y"] < browser.find_element("id", "slider").location["y"]


def test_losses_options_and_products_are_there_and_can_be_found(browser, run_folder):
    page = open_page(browser, run_folder)
    browser.execute_script("document.getElementById('losses').scrollIntoView()")
    page.wait_for(lambda: browser.execute_script("return document.querySelector('#losses img').naturalWidth") == 80)
    assert page.find("#options table").text.startswith("--n_gf 40")
    page.find("#search").send_keys("n_gf")
    rows = browser.find_elements("css selector", "#options tr")
    assert [row.text for row in rows if row.is_displayed()] == ["--n_gf 40"]
    browser.execute_script("document.getElementById('generated').scrollIntoView()")
    newest, older = browser.find_elements("css selector", "#generated details")
    assert newest.get_attribute("open") == "true"
    assert older.get_attribute("open") is None
    page.wait_for(lambda: browser.execute_script(
        "return [...arguments[0].querySelectorAll('img')].every((image) => image.naturalWidth === 48)", newest))
    older.find_element("tag name", "summary").click()
    page.wait_for(lambda: older.find_element("link text", "sun_20110215_AI.fits").is_displayed())


def test_nothing_of_a_hostile_name_is_run_and_its_links_work(browser, run_folder):
    page = open_page(browser, run_folder)
    assert browser.execute_script("return window.harmed") is None
    addresses = browser.execute_script(
        "return [...document.querySelectorAll('#generated figcaption a')].map((link) => link.href)")
    assert sum(unquote(address).endswith(f"{HOSTILE}.fits") for address in addresses) == 2
    page.stands_at(1000, ["sheet"])


def test_the_page_asks_nothing_of_the_network_and_reports_no_error(browser, run_folder):
    page = open_page(browser, run_folder)
    page.stands_at(1000, ["sheet"])
    asked = page.requests()
    assert any(url.endswith("/Image/Train/1000_sheet.png") for url in asked)
    assert all(url.startswith(("file://", "data:")) for url in asked)
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_of_500_sample_images_only_those_that_are_looked_at_are_loaded(browser, tmp_path):
    page = open_page(browser, make_run(tmp_path / "long", range(100, 50100, 100)))
    page.stands_at(50000, ["sheet"])
    assert 3 <= sum(".png" in url for url in page.requests()) < 20
    for _ in range(20):
        page.press("ARROW_LEFT")
    page.stands_at(48000, ["sheet"])
