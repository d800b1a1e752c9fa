#!/usr/bin/env python3
"""Opens run pages in headless Chromium, light and dark: heat maps, charts, notes, keys, hiding a run, small screens.

Usage: test_run_page.py PAGE.html ... [--shots DIR]
       test_run_page.py --make PROGRAM [ARGUMENT ...]   PROGRAM writes three.html ... into $MOXIE_PAGE_DIR
Exit status: 0 passed, 1 failed, 77 skipped (no selenium or no Chromium here).
"""
import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from test_routing_page import SKIPPED, Page, Keys, open_browser, webdriver

# Share of a canvas' right fifth (the end of the run) whose colour is near the given one.
NEAR = """
    const [canvas, wanted] = arguments;
    const pen = Object.assign(document.createElement('canvas'), {width: canvas.width, height: canvas.height}).getContext('2d', {willReadFrequently: true});
    pen.drawImage(canvas, 0, 0);
    const width = Math.floor(canvas.width / 5), data = pen.getImageData(canvas.width - width, 0, width, canvas.height).data;
    let near = 0;
    for (let i = 0; i < data.length; i += 4) if (Math.hypot(data[i] - wanted[0], data[i + 1] - wanted[1], data[i + 2] - wanted[2]) < 24) ++near;
    return near / (data.length / 4)"""
COLOUR = """
    const probe = document.createElement('span');
    probe.style.color = `var(${arguments[0]})`;
    document.body.append(probe);
    const colour = getComputedStyle(probe).color.match(/[\\d.]+/g).slice(0, 3).map(Number);
    probe.remove();
    return colour"""


def check_a_collapse_is_seen(page):
    """three.html: run 0 balances, run 1 collapses onto 2 of 16 experts, run 2 is dense."""
    dead = page.js(COLOUR, "--dead")
    calm, collapsed = page.all(".heats.run-0 .load canvas"), page.all(".heats.run-1 .load canvas")
    assert len(calm) == 4 and len(collapsed) == 4 and not page.all(".heats.run-2")
    for canvas in calm:
        assert page.js(NEAR, canvas, dead) < 0.01, "a balanced layer looks dead"
    for canvas in collapsed:
        assert page.js(NEAR, canvas, dead) > 0.6, "the dead experts of a collapse are not painted"
    # The busy experts are loud: far from the paper, red over blue.
    red = page.js("""
        const panel = moxie.panels.find((p) => p.kind === 'load' && p.run === 1), last = panel.columns - 1;
        const rows = [...Array(panel.rows).keys()].filter((r) => moxie.ratioOf(panel, panel.codes[r * panel.columns + last]) > 4);
        const {width, height} = panel.canvas, pen = Object.assign(document.createElement('canvas'), {width, height}).getContext('2d', {willReadFrequently: true});
        pen.drawImage(panel.canvas, 0, 0);
        return rows.map((r) => [...pen.getImageData(panel.canvas.width - 3, Math.floor((r + .5) * panel.canvas.height / panel.rows), 1, 1).data])""")
    assert len(red) == 2 and all(r > b + 80 for r, _, b, _ in red), red
    assert "collapsed" in page.one("#collapses").text and "step 360" in page.one("#collapses").text
    assert page.one("tr.collapse") and len(page.all("line.event")) >= 3


def check_charts_speak(page):
    charts = page.all(".plot svg[data-from]")
    assert len(charts) >= 5
    for svg in charts:
        assert "ends at" in svg.get_attribute("aria-label"), svg.get_attribute("aria-label")
        assert page.js("return [...arguments[0].querySelectorAll('path')].every((p) => !/NaN|inf/.test(p.getAttribute('d')))", svg)
    page.hover(charts[0])
    tip = page.tip()
    assert "validation" in tip and "tokens" in tip, tip


def check_cells_speak(page):
    canvases = page.all(".load canvas")
    if not canvases:
        return
    page.hover(canvases[0])
    assert "Expert" in page.tip() and "even load" in page.tip(), page.tip()
    page.js("arguments[0].focus()", canvases[0])
    page.keys(Keys.ARROW_RIGHT, Keys.ARROW_DOWN)
    said = page.one("#status").get_attribute("textContent")
    assert said.startswith("Expert 1, step"), said
    domains = page.all(".domains canvas")
    page.hover(domains[0])
    assert "chance" in page.tip(), page.tip()


def check_hiding_a_run(page):
    button = page.one("#runs button[data-run='0']")
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert not page.one(".curve.run-0").is_displayed()
    button.click()
    assert page.one(".curve.run-0").is_displayed()


def check_themes(page):
    light = """
        const light = (c) => { const [r, g, b] = c.map((x) => { x /= 255; return x <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4; });
                               return .2126 * r + .7152 * g + .0722 * b; };
        return light(arguments[0])"""
    for theme in ("light", "dark"):
        page.open(theme=theme)
        paper = page.js(light, page.js(COLOUR, "--paper"))
        assert (paper > 0.8) == (theme == "light"), (theme, paper)
        for name, least in [("--ink", 7), ("--muted", 4.5), ("--red", 4.5)] + [(f"--run-{i}", 3) for i in range(8)]:
            other = page.js(light, page.js(COLOUR, name))
            contrast = (max(paper, other) + 0.05) / (min(paper, other) + 0.05)
            assert contrast >= least, (theme, name, contrast)
        page.shot(theme, 12000)


def check_small_screens(page):
    for width in (320, 390, 768, 1024):
        page.open(width=width, height=844)
        assert page.js("return document.documentElement.scrollWidth") <= width, f"the body scrolls sideways at {width}px"
        page.shot(f"width-{width}", 12000)


def check_without_scripts(browser, path):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(pathlib.Path(path).resolve().as_uri())
        page = Page(browser, path, None)
        assert "scripts are off" in page.one("noscript p").text
        assert page.one(".curve").is_displayed() and page.one("main .table").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def check_page(browser, path, shots):
    page = Page(browser, path, shots)
    assert page.path.stat().st_size < 3_000_000
    checks = [check_charts_speak, check_cells_speak, check_hiding_a_run]
    if page.path.name == "three.html":
        checks.append(check_a_collapse_is_seen)
    for theme in ("light", "dark"):
        for check in checks:
            page.open(theme=theme)
            check(page)
            page.check_console()
            print(f"ok  {page.path.name}, {theme}: {check.__name__[6:].replace('_', ' ')}")
    for check in (check_themes, check_small_screens):
        check(page)
        page.check_console()
    check_without_scripts(browser, path)
    print(f"ok  {page.path.name}: themes, small screens, without scripts")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*")
    parser.add_argument("--shots", help="directory for screenshots")
    parser.add_argument("--make", nargs=argparse.REMAINDER, metavar="PROGRAM")
    arguments = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if webdriver is None or not chromium or not driver:
        print("SKIPPED: the run page is not looked at; needs chromium, chromium-driver and python3-selenium")
        return SKIPPED
    with tempfile.TemporaryDirectory() as directory:
        pages = list(arguments.pages)
        if arguments.make:
            subprocess.run(arguments.make, check=True, env={**os.environ, "MOXIE_PAGE_DIR": directory},
                           stdout=subprocess.DEVNULL)
            made = sorted(str(path) for path in pathlib.Path(directory).glob("*.html"))
            assert made, "the program wrote no page"
            pages += made
        if arguments.shots:
            pathlib.Path(arguments.shots).mkdir(parents=True, exist_ok=True)
        browser = open_browser(chromium, driver)
        try:
            for path in pages:
                check_page(browser, path, arguments.shots)
        finally:
            browser.quit()
    return 0


if __name__ == "__main__":
    sys.exit(main())
