"""The page by keyboard, on a phone, in dark and light, and for screen readers."""

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}

UNNAMED = """() => [...document.querySelectorAll("a, button, input, select, summary, progress, [role], [tabindex='0']")]
  .filter((element) => element.checkVisibility() && !element.closest("[aria-hidden=true]"))
  .filter((element) => !(element.getAttribute("aria-label") || element.labels?.length || element.textContent.trim()
    || element.querySelector("img[alt]:not([alt=''])")))
  .map((element) => element.outerHTML)"""

# Contrast of each visible text with the ground behind it, by the formula of WCAG 2.
FAINT = """() => {
  const channels = (color) => color.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = channels(getComputedStyle(at).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
  };
  return [...document.querySelectorAll("h1, h2, p, a, label, button, summary, dt, dd, span, figcaption, output")]
    .filter((element) => element.checkVisibility() && !element.closest(":disabled, .visually-hidden, .strip"))
    .filter((element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
    .map((element) => {
      const [a, b] = [luminance(channels(getComputedStyle(element).color)), luminance(ground(element))];
      return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), element.outerHTML];
    })
    .filter(([contrast]) => contrast < 4.5);
}"""


def _visit(window, server):
    """Open each page of the server in turn."""
    run = window.start(steps=5)
    window.wait_until(run, lambda state: state["state"] == "finished")
    window.page.goto(f"{server.origin}/#gallery")
    kept = window.page.locator("#gallery li a").first.get_attribute("href").removeprefix("#")
    for place in ("new", f"run/{run}", "gallery", kept):
        window.page.goto(f"{server.origin}/#{place}")
        expect(window.page.locator(f"#{place.split('/')[0]} h1")).to_be_visible()
        for details in window.page.locator("main > :not([hidden]) details").all():
            details.evaluate("details => { details.open = true; }")
        yield place


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_every_page_is_readable_in_both_color_schemes(open_page, server, pictures, user, scheme):
    page = open_page(server.address, color_scheme=scheme)
    window = type(user)(page, pictures)
    page.goto(f"{server.origin}/#new")
    grounds = [page.evaluate("getComputedStyle(document.body).backgroundColor")]
    for place in _visit(window, server):
        assert page.evaluate(FAINT) == [], place
        assert page.evaluate(UNNAMED) == [], place
    other = {"dark": "light", "light": "dark"}[scheme]
    window.press(f"Use {other} colors")
    grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert grounds[0] != grounds[1]
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == grounds[1]


def test_a_phone_shows_every_page_without_scrolling_sideways(open_page, server, pictures, user):
    page = open_page(server.address, **PHONE)
    window = type(user)(page, pictures)
    page.goto(f"{server.origin}/#new")
    for place in _visit(window, server):
        assert page.evaluate("document.documentElement.scrollWidth") == 390, place
    page.goto(f"{server.origin}/#new")
    run = window.start_long()
    # The picture stays in sight beside the sliders.
    slider = page.locator("#knobs [data-field=strength] input[type=range]")
    slider.scroll_into_view_if_needed()
    page.mouse.wheel(0, 200)
    expect(page.locator("#run .picture")).to_be_in_viewport(ratio=0.9)
    window.press("Stop and keep")
    window.wait_until(run, lambda state: state["state"] == "stopped")


def test_the_picture_is_the_largest_thing_on_the_page(user):
    run = user.start(steps=3)
    user.wait_until(run, lambda state: state["state"] == "finished")
    expect(user.page.locator("#run .picture")).to_be_visible()
    box = user.page.locator("#run .picture").bounding_box()
    assert box["width"] * box["height"] > 0.4 * 1400 * 900


def _tab_to(page, name):
    """Press Tab until a control with a name has the focus, which must be visible."""
    for _ in range(120):
        page.keyboard.press("Tab")
        focus = page.evaluate("""() => {
          const element = document.activeElement;
          const style = getComputedStyle(element.matches(".visually-hidden") ? element.parentElement : element);
          const name = element.getAttribute("aria-label") || element.labels?.[0]?.textContent || element.textContent;
          return [name.trim(), style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2];
        }""")
        if focus[0] == name:
            assert focus[1], f"the focus on {name} is not visible"
            return
    raise AssertionError(f"Tab does not reach {name}")


def test_a_picture_is_made_with_the_keyboard_alone(user):
    page, press = user.page, user.page.keyboard.press
    _tab_to(page, "Use the bundled photo")
    press("Enter")
    _tab_to(page, "Use the bundled painting")
    press("Enter")
    _tab_to(page, "Size")
    press("Control+A")
    page.keyboard.type("64")
    _tab_to(page, "Evaluations")
    press("Control+A")
    page.keyboard.type("100000")
    expect(page.get_by_role("button", name="Start", exact=True)).to_be_enabled()
    press("Enter")
    page.wait_for_url("**#run/*")
    run = page.url.split("#run/")[1]
    expect(page.locator("#run-state")).to_be_focused()
    user.wait_until(run, lambda state: state["state"] == "running" and state["live"])
    strength = user.state(run)["live"]["strength"]
    _tab_to(page, "Strength")
    press("ArrowRight")
    user.wait_until(run, lambda state: state["live"]["strength"] > strength)
    page.locator("h1").nth(1).focus()
    _tab_to(page, "Stop and keep")
    press("Space")
    user.wait_until(run, lambda state: state["state"] == "stopped")
    expect(page.locator("#run-live")).to_have_text("Stopped and kept")
    with page.expect_download():
        _tab_to(page, "PNG")
        press("Enter")


def test_nothing_asks_in_a_dialog_of_the_browser(user):
    dialogs = []
    user.page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    run = user.start_long()
    user.press("Stop and keep")
    user.wait_until(run, lambda state: state["state"] == "stopped")
    user.page.reload()
    assert dialogs == []
