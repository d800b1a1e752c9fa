#!/usr/bin/env python3
"""Opens routing pages in headless Chromium and uses them as a reader would: hover, click, keys, themes, small screens.

Usage: test_routing_page.py PAGE.html [--expect-dead-expert-in-first-layer N] [--shots DIR]
       test_routing_page.py --moxie BINARY MODEL            makes the page with `BINARY route MODEL ... --html`
       test_routing_page.py --make PROGRAM [ARGUMENT ...]   PROGRAM writes sample.html ... into $MOXIE_PAGE_DIR
Exit status: 0 passed, 1 failed, 77 skipped (no selenium or no Chromium here).
"""
import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

try:
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.actions.action_builder import ActionBuilder
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
except ImportError:
    webdriver = None

SKIPPED = 77
TEXT = """First Citizen: we are accounted poor citizens. Q: If x + 3 = 10, what is x? A: x = 7
def sol(n): return [i for i in range(n) if i % 2 == 0]
Die Häuser der Stadt lagen still. ¿Dónde está la biblioteca?
"""


def open_browser(chromium, driver):
    options = Options()
    options.binary_location = chromium
    for flag in ("--headless=new", "--disable-gpu", "--no-sandbox", "--hide-scrollbars"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(service=Service(driver), options=options)


class Page:
    """One page in one browser, with the questions the checks ask."""

    def __init__(self, browser, path, shots):
        self.browser, self.path, self.shots = browser, pathlib.Path(path).resolve(), shots

    def open(self, width=1280, height=900, theme="light"):
        self.resize(width, height)
        self.browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": theme}]})
        self.browser.get(self.path.as_uri())
        self.js("return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def resize(self, width, height):
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                                     {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False})

    def js(self, code, *arguments):
        return self.browser.execute_script(code, *arguments)

    def one(self, selector):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector):
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def keys(self, *keys):
        for key in keys:
            ActionChains(self.browser).send_keys(key).perform()

    def hover(self, element, x=None):
        """Moves the pointer over the middle of the element, or x pixels into it, which may lie in a scrolling part."""
        left, top = self.js("""
            const [element, x] = arguments, scroller = element.closest('.scroll-x');
            element.scrollIntoView({block: 'center', inline: 'nearest'});
            if (scroller && x !== null) scroller.scrollLeft = x - scroller.clientWidth / 2;
            const box = element.getClientRects()[0];
            return [box.left + (x === null ? box.width / 2 : x), box.top + box.height / 2]""", element, x)
        actions = ActionBuilder(self.browser)
        actions.pointer_action.move_to_location(int(left), int(top))
        actions.perform()

    def tip(self):
        return self.one("#tip").text if self.one("#tip").is_displayed() else ""

    def shot(self, name, height=None):
        if not self.shots:
            return
        if height:
            width = self.js("return innerWidth")
            self.resize(width, min(height, self.js("return document.documentElement.scrollHeight")))
        self.browser.save_screenshot(str(pathlib.Path(self.shots) / f"{self.path.stem}-{name}.png"))

    def check_console(self):
        errors = [entry for entry in self.browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
        assert not errors, errors


def check_shows_the_trace(page, dead_expert):
    page.open()
    tokens = page.all(".token")
    facts = page.js("return {tokens: moxie.numTokens, layers: moxie.layers.length, model: moxie.data.model}")
    assert len(tokens) == facts["tokens"], "a token is missing from the strip"
    assert len(page.all("#heat canvas")) == facts["layers"]
    assert page.one("h1").text == facts["model"]
    assert page.browser.title == f"{facts['model']} · routing", page.browser.title
    if dead_expert is not None:
        assert f"{dead_expert}" in page.one("#warnings").text, page.one("#warnings").text
        assert int(page.one("#heat tbody tr td:nth-of-type(4)").text) >= 1
    # The embedded loads and the unpacked tokens are told by two ways through the code: they must agree where all is kept.
    assert page.js("""
        return moxie.layers.every((layer) => {
          if (layer.slots < layer.topK || moxie.numTokens < moxie.data.tokens.total) return true;
          const counts = new Array(layer.experts).fill(0);
          for (const id of layer.ids) if (id >= 0) ++counts[id];
          return counts.every((count, e) => count === layer.counts[e]);
        })"""), "unpacked experts and embedded loads differ"
    page.shot("light", 4000)


def check_hover_shows_experts(page):
    page.open()
    if not page.all(".token"):
        return
    expected = page.js("return moxie.layers[0].ids[2 * moxie.layers[0].slots]")
    page.hover(page.all(".token")[2])
    tip = page.tip()
    assert str(expected) in tip.split(), f"the note {tip!r} lacks expert {expected}"
    assert "layer" in tip
    assert "token 2" in page.one("#route").text
    canvas = page.all("#heat canvas")[0]
    page.hover(canvas, x=3)
    tip = page.tip()
    assert "Expert 0" in tip and "share" in tip, tip


def check_click_marks_tokens(page):
    page.open()
    busiest = page.js("const c = moxie.layers[0].counts; return c.indexOf(Math.max(...c))")
    cell = page.js("return document.querySelector('#heat canvas').clientWidth / moxie.layers[0].experts")
    canvas = page.all("#heat canvas")[0]
    page.hover(canvas, x=(busiest + 0.5) * cell)
    ActionChains(page.browser).click().perform()
    assert page.js("return moxie.state.expert") == busiest
    marked = page.js("return [...document.querySelectorAll('.token.hit')].map((span) => Number(span.dataset.t))")
    expected = page.js("""
        const {ids, slots} = moxie.layers[0], hits = [];
        for (let t = 0; t < moxie.numTokens; ++t) if (ids.subarray(t * slots, (t + 1) * slots).includes(arguments[0])) hits.push(t);
        return hits""", busiest)
    assert marked == expected and marked, (marked, expected)
    assert f"Expert {busiest}" in page.one("#expert").text
    page.shot("chosen", 4000)
    page.keys(Keys.ESCAPE)
    assert not page.all(".token.hit")
    button = page.one("#attracts button[data-e]")  # the list of experts chooses as well
    page.js("arguments[0].scrollIntoView({block: 'center'})", button)
    button.click()
    assert page.js("return moxie.state.expert") is not None


def check_keyboard(page):
    page.open()
    first = page.all(".token")[0]
    page.js("arguments[0].focus()", first)
    page.keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    focused = page.browser.switch_to.active_element
    assert focused.get_attribute("data-t") == "2", "the right arrow does not move along the tokens"
    assert "expert" in focused.get_attribute("aria-label")
    page.keys(Keys.ARROW_DOWN)
    below = page.browser.switch_to.active_element
    assert int(below.get_attribute("data-t")) > 2 and below.location["y"] > focused.location["y"], "down stays on its line"
    page.keys(Keys.ENTER)
    assert below.get_attribute("aria-selected") == "true" and "pinned" in page.one("#route").text
    page.keys(Keys.ESCAPE, Keys.HOME)
    assert page.browser.switch_to.active_element.get_attribute("data-t") == "0"
    assert page.js("return document.querySelectorAll('.token[tabindex=\"0\"]').length") == 1, "one tab stop for the strip"

    page.js("document.querySelector('#heat canvas').focus()")
    page.keys(Keys.ARROW_RIGHT)
    canvas = page.browser.switch_to.active_element
    assert canvas.get_attribute("aria-valuenow") == "1" and "expert 1:" in canvas.get_attribute("aria-valuetext")
    page.keys(Keys.ENTER)
    assert page.js("return moxie.state.expert") == 1
    assert "expert 1:" in page.one("#status").get_attribute("textContent")
    if page.js("return moxie.layers.length") > 1:
        page.keys(Keys.ARROW_DOWN)
        assert page.browser.switch_to.active_element.get_attribute("data-l") == "1"
        page.js("document.getElementById('layer').focus()")
        page.keys(Keys.ARROW_RIGHT)
        assert page.js("return moxie.state.layer") == 1 and page.js("return moxie.state.expert") is None


def check_controls(page):
    page.open()
    page.one("#all-layers").click()
    if page.js("return moxie.layers.length") > 1:
        assert "gradient" in page.js("return document.querySelector('.token').style.backgroundImage")
    page.shot("all-layers")
    page.one("#all-layers").click()
    page.one("#numbers").click()
    top = page.js("return moxie.layers[0].ids[0]")
    content = page.js("return getComputedStyle(document.querySelector('.token'), '::after').content")
    assert content.strip('"') == str(top), content
    before = page.js("return document.querySelector('#heat canvas').toDataURL()")
    weight = page.one("input[value=weight]")
    if weight.is_enabled():
        page.js("arguments[0].click()", weight)
        assert page.js("return document.querySelector('#heat canvas').toDataURL()") != before, "the measure changes nothing"
        assert "Weight" in page.one("#histogram-title").text


def check_themes(page):
    luminance = """
        const rgb = (selector, property) => getComputedStyle(document.querySelector(selector))[property].match(/[\\d.]+/g).map(Number);
        const light = (c) => { const [r, g, b] = c.map((x) => { x /= 255; return x <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4; });
                               return .2126 * r + .7152 * g + .0722 * b; };
        const contrast = (a, b) => (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
        const paper = light(rgb('body', 'backgroundColor'));
        const tokens = [...document.querySelectorAll('.token')].slice(0, 300).filter((t) => t.style.backgroundColor).map((t) => {
          const style = getComputedStyle(t), c = (x) => light(x.match(/[\\d.]+/g).slice(0, 3).map(Number));
          return contrast(c(style.color), c(style.backgroundColor)); });
        return {paper, text: contrast(paper, light(rgb('body', 'color'))), muted: contrast(paper, light(rgb('.muted', 'color'))),
                tokens: Math.min(...tokens)}"""
    for theme in ("light", "dark"):
        page.open(theme=theme)
        page.js("return new Promise((done) => setTimeout(done, 250))")  # the tokens' colours fade in
        seen = page.js(luminance)
        assert (seen["paper"] > 0.8) == (theme == "light"), (theme, seen)
        assert seen["text"] >= 7 and seen["muted"] >= 4.5 and seen["tokens"] >= 4.5, (theme, seen)
        page.shot(theme, 4000)
    page.open(theme="dark")
    page.one("#theme").click()  # automatic, light, dark
    assert page.js(luminance)["paper"] > 0.8, "the toggle does not override the system's theme"
    page.one("#theme").click()
    assert page.js(luminance)["paper"] < 0.1


def check_small_screens(page):
    for width in (320, 390, 768, 1024):
        page.open(width=width, height=844)
        assert page.js("return document.documentElement.scrollWidth") <= width, f"the body scrolls sideways at {width}px"
        page.shot(f"width-{width}", 6000)


def check_empty(page):
    page.open()
    assert "no tokens" in page.one("#strip").text
    page.one("#theme").click()
    page.check_console()


def check_page(browser, path, dead_expert, shots):
    page = Page(browser, path, shots)
    if page.path.name == "empty.html":
        check_empty(page)
        print(f"ok  {page.path.name}: empty")
        return
    assert page.path.stat().st_size < 1_000_000, f"{page.path}: {page.path.stat().st_size} bytes"
    check_shows_the_trace(page, dead_expert)
    page.check_console()
    for check in (check_hover_shows_experts, check_click_marks_tokens, check_keyboard, check_controls, check_themes,
                  check_small_screens):
        check(page)
        page.check_console()
        print(f"ok  {page.path.name}: {check.__name__[6:].replace('_', ' ')}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*")
    parser.add_argument("--expect-dead-expert-in-first-layer", type=int, dest="dead")
    parser.add_argument("--shots", help="directory for screenshots")
    parser.add_argument("--moxie", nargs=2, metavar=("BINARY", "MODEL"))
    parser.add_argument("--make", nargs=argparse.REMAINDER, metavar="PROGRAM")
    arguments = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if webdriver is None or not chromium or not driver:
        print("SKIPPED: the routing page is not looked at; needs chromium, chromium-driver and python3-selenium")
        return SKIPPED
    with tempfile.TemporaryDirectory() as directory:
        pages = [(path, arguments.dead) for path in arguments.pages]
        if arguments.make:
            subprocess.run(arguments.make, check=True, env={**os.environ, "MOXIE_PAGE_DIR": directory},
                           stdout=subprocess.DEVNULL)
            made = sorted(pathlib.Path(directory).glob("*.html"))
            assert made, "the program wrote no page"
            pages += [(path, 5 if path.name == "sample.html" else None) for path in made]
        if arguments.moxie:
            binary, model = arguments.moxie
            made = str(pathlib.Path(directory) / "route.html")
            subprocess.run([binary, "route", model, TEXT, "--html", made], check=True, stdout=subprocess.DEVNULL)
            pages.append((made, arguments.dead))
        if arguments.shots:
            pathlib.Path(arguments.shots).mkdir(parents=True, exist_ok=True)
        browser = open_browser(chromium, driver)
        try:
            for path, dead in pages:
                check_page(browser, path, dead, arguments.shots)
        finally:
            browser.quit()
    return 0


if __name__ == "__main__":
    sys.exit(main())
