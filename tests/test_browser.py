"""The rendered book in a real browser without a network: titles, mathematics, pictures, search, phone, dark mode.

The pages are those of the book as it stands, with the quick results where they are up to date, else smoke results.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pipeline
import pytest
import render
import yaml
from playwright.sync_api import Browser, Page, sync_playwright

pytestmark = pytest.mark.xdist_group("smoke")  # one at a time with the other tests that make smoke results
ROOT = Path(__file__).resolve().parent.parent
TITLE = "Ten Papers, Derived and Run"
PAGES = pipeline.pages()
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # no name resolves: the network is cut off
]
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}

# Text that fails to stand out from what is behind it: words, its contrast ratio, and the wanted one.
FAINT = """() => {
  const parse = c => { const n = c.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
  const over = (top, under) => top.slice(0, 3).map((v, i) => v * top[3] + under[i] * (1 - top[3]));
  const linear = v => v <= 10 ? v / 3294.6 : ((v / 255 + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const behind = e => { const stack = [];
    for (; e; e = e.parentElement) stack.push(parse(getComputedStyle(e).backgroundColor));
    return stack.reverse().reduce((under, top) => over(top, under), [255, 255, 255]); };
  const found = [];
  const walker = document.createTreeWalker(document.querySelector("article"), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement, words = walker.currentNode.textContent.trim();
    const box = e.getBoundingClientRect(), style = getComputedStyle(e);
    if (!words || !box.width || !box.height || style.visibility === "hidden" || style.opacity === "0") continue;
    if (e.closest("mjx-assistive-mml, script, style, .headerlink, .onlyprint, .copybtn")) continue;
    const back = behind(e), front = over(parse(style.color), back);
    const [high, low] = [light(front), light(back)].sort((a, b) => b - a);
    const ratio = (high + 0.05) / (low + 0.05), wanted = e.closest("pre") ? 3 : 4.5;
    if (ratio < wanted) found.push(`${words.slice(0, 40)}: ${ratio.toFixed(2)} < ${wanted}`);
  }
  return found;
}"""
# Pictures whose corner is see-through or dark: black axes would be lost on the dark page.
DARK_PICTURES = """() => [...document.querySelectorAll("article img")].filter(img => {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const pen = canvas.getContext("2d");
  pen.drawImage(img, 0, 0, 4, 4, 0, 0, 1, 1);
  const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data;
  return a < 255 || r + g + b < 600;
}).map(img => img.src)"""
# The words of a page without its code and its mathematics.
PROSE = """() => {
  const copy = document.querySelector("article").cloneNode(true);
  copy.querySelectorAll("pre, code, script, style, mjx-container").forEach(e => e.remove());
  return copy.textContent;
}"""
# What reaches beyond a window of the given width and cannot be scrolled to in a frame of its own.
CUT_OFF = """width => [...document.querySelectorAll("article p, article table, article pre, article img")].filter(e => {
  if (e.getBoundingClientRect().right <= width + 1) return false;
  for (let up = e; up && up.tagName !== "HTML"; up = up.parentElement)
    if (["auto", "scroll"].includes(getComputedStyle(up).overflowX)) return false;
  return true;
}).map(e => e.outerHTML.slice(0, 200))"""
# Displayed formulas of which a part is cut off, by label or by what they say.
LONG_FORMULAS = """() => [...document.querySelectorAll("article div.math mjx-container")]
  .filter(e => e.scrollWidth > e.clientWidth + 1)
  .map(e => e.closest("div.math").id || e.textContent.slice(0, 80))"""


def chromium() -> str:
    """The installed browser; the test fails with one sentence where there is none."""
    found = shutil.which("chromium") or shutil.which("chromium", path="/usr/bin")
    if found is None:
        pytest.fail("There is no chromium here; install it with: sh tools/system-packages.sh", pytrace=False)
    return found


def executed(page: str) -> pipeline.Job:
    """The job whose executed notebook stands for a page: the quick one if it is up to date, else the smoke one."""
    slug, notebook = Path(page).parts[1:]
    quick, smoke = (pipeline.job(slug, notebook, scale=scale) for scale in ("quick", "smoke"))
    if not quick.why():
        return quick
    if not smoke.settle():
        words = [sys.executable, "tools/execute.py", str(smoke.card), "--threads", "1"]
        subprocess.run(words, cwd=ROOT, check=True, timeout=600)
    return smoke


def with_results(root: Path, jobs: list[pipeline.Job]) -> Path:
    """A root that shows the results of just these jobs: others in the checkout may be older than its pages."""
    root.mkdir()
    for name in ("chapters", "data", "_toc.yml"):
        (root / name).symlink_to(ROOT / name)
    for job in jobs:
        (root / job.results).parent.mkdir(parents=True, exist_ok=True)
        (root / job.results).symlink_to(ROOT / job.results)
    return root


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rendered book, from what is here now."""
    folder = tmp_path_factory.mktemp("book")
    jobs = [executed(page) for page in PAGES if (ROOT / f"{page}.ipynb").is_file()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(render, "BOOK", folder / "book")
        patch.setattr(pipeline, "book_jobs", lambda: jobs)
        render.assemble()
    config = yaml.safe_load((folder / "book" / "_config.yml").read_text(encoding="utf-8"))
    config["sphinx"]["config"]["book_root"] = str(with_results(folder / "root", jobs))
    (folder / "book" / "_config.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    program = "from jupyter_book.cli.main import main; main()"
    words = ["build", str(folder / "book"), "--path-output", str(folder), "-W", "--keep-going", "--quiet"]
    ended = subprocess.run(
        [sys.executable, "-c", program, *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=600
    )
    if ended.returncode != 0:
        pytest.fail(f"The book does not render:\n{ended.stdout}{ended.stderr}", pytrace=False)
    return folder / "_build" / "html"


class Quiet(SimpleHTTPRequestHandler):
    """A file server that says nothing."""

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the test's output to the test."""


@pytest.fixture(scope="module")
def server(html: Path) -> Iterator[str]:
    """The address at which the built folder is served."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(html))) as one:
        thread = threading.Thread(target=one.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{one.server_port}/"
        one.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = chromium()
    os.environ["PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD"] = "1"
    with sync_playwright() as play:
        one = play.chromium.launch(executable_path=path, args=FLAGS)
        yield one
        one.close()


class Visit:
    """A page opened with a given window and colour scheme, and what went wrong on it."""

    def __init__(self, browser: Browser, base: str, size: dict[str, int] = DESK, scheme: str = "light") -> None:
        self.base, self.wrong = base, list[str]()
        self.context = browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
        self.context.set_default_timeout(180_000)  # ms: a long page of mathematics on a busy machine
        self.context.route("**/*", self.guard)
        self.page: Page = self.context.new_page()
        self.page.on("console", lambda said: said.type == "error" and self.wrong.append(f"console: {said.text}"))
        self.page.on("pageerror", lambda error: self.wrong.append(f"script: {error}"))
        self.page.on("requestfailed", lambda request: self.wrong.append(f"failed: {request.url}"))
        self.page.on("response", lambda got: got.status >= 400 and self.wrong.append(f"status {got.status}: {got.url}"))

    def guard(self, route: Any) -> None:
        """Let only the book's own files through."""
        if route.request.url.startswith((self.base, "data:", "blob:")):
            route.continue_()
        else:
            self.wrong.append(f"asks the network for {route.request.url}")
            route.abort()

    def open(self, name: str) -> Page:
        """Open a page and wait until its mathematics is set."""
        self.page.goto(self.base + name, wait_until="load")
        self.page.evaluate("() => window.MathJax && MathJax.startup && MathJax.startup.promise")
        return self.page

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()


def heading(page: str) -> str:
    """A page's title as its source has it."""
    path = ROOT / f"{page}.md"
    if path.is_file():
        text = path.read_text(encoding="utf-8")
    else:
        cells = yaml.safe_load((ROOT / f"{page}.ipynb").read_text(encoding="utf-8"))["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return next(line[2:].strip() for line in text.splitlines() if line.startswith("# "))


def assert_whole(visit: Visit, page: str) -> None:
    """Title, mathematics and pictures are as they should be, and nothing failed."""
    found, words = visit.page, heading(page)
    plain = re.sub(r"[$`*]", "", words)
    assert found.title().startswith(plain.split("\\")[0].strip())
    assert TITLE in found.title()
    assert found.locator("article h1").first.inner_text().strip(" #¶\n").startswith(plain.split("\\")[0].strip())
    assert found.locator("mjx-merror, [data-mjx-error]").count() == 0
    assert found.locator("article .math").count() == found.locator("article .math mjx-container").count()
    prose = found.evaluate(PROSE)
    assert not re.search(r"\$\$|\$[^$ ][^$]*\$|\\\(|\\\[|\\begin\{|\{(?:glue|value|cite|ref|prf)[:}]", prose), prose
    pictures = found.evaluate(
        """() => [...document.images].map(i => [i.src, i.complete && i.naturalWidth > 0, i.alt.trim()])"""
    )
    for address, there, alternative in pictures:
        assert there, f"missing picture {address}"
        assert alternative, f"no words for {address}"
    assert visit.wrong == []


@pytest.mark.parametrize("page", PAGES)
def test_page_is_whole(browser: Browser, server: str, page: str) -> None:
    with Visit(browser, server) as visit:
        visit.open(f"{page}.html")
        assert_whole(visit, page)
        assert visit.page.evaluate(FAINT) == []
        assert visit.page.evaluate(LONG_FORMULAS) == [], "a displayed formula is wider than its page: break it"


@pytest.mark.parametrize("page", PAGES)
def test_page_is_readable_on_a_phone(browser: Browser, server: str, page: str) -> None:
    with Visit(browser, server, PHONE) as visit:
        found = visit.open(f"{page}.html")
        assert found.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        size = found.evaluate("parseFloat(getComputedStyle(document.querySelector('article p')).fontSize)")
        assert size >= 14
        hidden = found.evaluate(CUT_OFF, PHONE["width"])
        assert hidden == []
        assert visit.wrong == []


@pytest.mark.parametrize("page", PAGES)
def test_page_is_readable_in_the_dark(browser: Browser, server: str, page: str) -> None:
    with Visit(browser, server, scheme="dark") as visit:
        found = visit.open(f"{page}.html")
        assert found.evaluate("document.documentElement.dataset.theme") == "dark"
        assert found.evaluate(FAINT) == []
        assert found.evaluate(DARK_PICTURES) == []


def test_contrast_and_pictures_are_really_judged(browser: Browser, server: str) -> None:
    """The two judgements above notice a planted fault."""
    with Visit(browser, server, scheme="dark") as visit:
        found = visit.open("intro.html")
        found.evaluate("document.querySelector('article p').style.color = '#333'")
        assert found.evaluate(FAINT) != []
        found.evaluate(
            """async () => { const canvas = document.createElement("canvas"), img = new Image();
            img.src = canvas.toDataURL(); await img.decode(); document.querySelector("article").append(img); }"""
        )
        assert len(found.evaluate(DARK_PICTURES)) == 1


def search(visit: Visit, word: str) -> list[str]:
    """Addresses of the pages that the book's search finds for a word, typed as a reader does."""
    visit.open("intro.html")
    visit.page.keyboard.press("Control+k")
    field = visit.page.locator("#pst-search-dialog input[name=q]")
    field.fill(word)
    field.press("Enter")
    visit.page.wait_for_url("**/search.html?*")
    visit.page.wait_for_selector("#search-results ul.search li a")
    return visit.page.locator("#search-results ul.search li a").evaluate_all("all => all.map(a => a.href)")


def test_search_finds_pages(browser: Browser, server: str) -> None:
    with Visit(browser, server) as visit:
        found = search(visit, "papermill")
        assert any("full_scale.html" in address for address in found)
        visit.page.locator("#search-results ul.search li a[href*=full_scale]").first.click()
        visit.page.wait_for_url("**/full_scale.html*")
        assert visit.wrong == []


def test_the_book_works_from_a_plain_folder(browser: Browser, html: Path) -> None:
    base = html.as_uri() + "/"
    with Visit(browser, base) as visit:
        for page in PAGES:
            visit.open(f"{page}.html")
            assert_whole(visit, page)
        assert any("full_scale.html" in address for address in search(visit, "papermill"))
        assert visit.wrong == []


class Anchors(HTMLParser):
    """Links and ids of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links, self.ids = list[str](), set[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.ids.add(value)
            elif name in ("href", "src") and value:
                self.links.append(value)


def test_no_link_inside_the_book_is_dead(html: Path) -> None:
    found = [path for path in html.rglob("*.html") if "_static" not in path.relative_to(html).parts]
    pages = {path: Anchors(path.read_text(encoding="utf-8")) for path in found}
    dead = []
    for path, anchors in pages.items():
        for link in anchors.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists() or (
                parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids
            ):
                dead.append(f"{path.relative_to(html)}: {link}")
    assert dead == []


def test_pages_load_nothing_from_elsewhere(html: Path) -> None:
    for path in html.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|iframe|source)[^>]*src="([^"]+)"|<link[^>]*href="([^"]+)"', text)
        assert [one for pair in loaded for one in pair if re.match(r"(?:https?:)?//", one)] == [], path
