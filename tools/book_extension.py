"""The book's own directives and role: they show what the notebooks' runs left, and compute nothing.

`{claims} <slug>`, `{expectations} <slug>`, `{scoreboard}`, `{full-runs}`, `{result-figure} <slug>/<notebook>/<figure>`
and `` {value}`<slug>/<notebook>/<name>:.3f` ``. A result that is missing is shown as "not run", never as an error; a
claim that fails is shown as failing.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole
from tenpapers import ledger
from tenpapers.presets import SCALES, nearest

logger = logging.getLogger(__name__)

PLACES = {"smoke": "smoke", "quick": "quick", "full": "full (archived)"}
MARKS = {"holds": "✓ holds", "fails": "✗ fails"}
SHOWN, SHOWN_AT_A_GLANCE = 3, 1  # checks of one claim that a chapter's table lists one by one, and the scoreboard

Cell = list[nodes.Node]


# What the runs left


def root_of(env: BuildEnvironment) -> Path:
    """The book's root: the setting `book_root`, else the checkout around the sources."""
    return Path(env.config.book_root) if env.config.book_root else ledger.book_root(env.srcdir)


def written(env: BuildEnvironment) -> list[str]:
    """Slugs of the chapters, in the order of the book's contents (alphabetical where there are none)."""
    order = list(getattr(env, "external_site_map", None) or ())
    position = {page: i for i, page in enumerate(order)}
    return sorted(ledger.chapters(root_of(env)), key=lambda slug: position.get(f"chapters/{slug}/index", len(order)))


def pages_of(env: BuildEnvironment) -> dict[str, str]:
    """Pages that show results, with the fingerprint of the results that they were made from."""
    return env.__dict__.setdefault("book_pages", {})


def title_of(root: Path, slug: str) -> str:
    """A chapter's title: the first heading of its index page, or its slug."""
    index = root / "chapters" / slug / "index.md"
    lines = index.read_text(encoding="utf-8").splitlines() if index.is_file() else []
    return next((line[2:].strip() for line in lines if line.startswith("# ")), slug)


def shown_run(root: Path, slug: str, notebook: str) -> tuple[str, ledger.FinishedRun] | None:
    """The run that a page's pictures and numbers come from: the quick one, or while there is none the smoke one."""
    for scale in ("quick", "smoke"):
        run = ledger.finished(ledger.results_root(root) / slug / scale / notebook)
        if run is not None:
            return scale, run
    return None


def measured(check: dict[str, Any]) -> str:
    """One check's measured value, with its spread and its note, in plain words as the notebook shows them."""
    value, spread = check["measured"], check["spread"]
    words = {True: "true", False: "false"}[value] if isinstance(value, bool) else ledger.number(value)
    if spread is not None:
        words += f" ± {spread:.2g}"
    return f"{check['note']}: {words}" if check["note"] else words


def lines_of(verdict: ledger.Verdict, shown: int) -> list[str]:
    """What was measured for a claim: at most `shown` checks, those that fail first, and how many more there are.

    Nothing for a claim that was checked where it need not hold: what a run too small for it measures is no evidence.
    """
    if verdict.status == "not required":
        return []
    checks = sorted(verdict.checks, key=lambda check: bool(check["holds"]))
    lines = [measured(check) for check in checks[:shown]]
    more = len(checks) - len(lines)
    return [*lines, f"and {more} more check{'s' if more > 1 else ''}"] if more else lines


def grid_points(run: dict[str, Any]) -> list[dict[str, Any]]:
    """Parameters (seed, overrides) of every run that a named run of runs.yaml stands for: the product of its grid."""
    grid = run.get("grid") or {}
    points = []
    for values in itertools.product(*grid.values()):
        point = dict(zip(grid, values, strict=True))
        seed = point.pop("seed", 0)
        points.append({"seed": seed, "overrides": {**(run.get("overrides") or {}), **point}})
    return points


def fingerprint(root: Path) -> str:
    """Changes when any result, claim or named run does: names, sizes and times of the files that pages show."""
    found = hashlib.sha256()
    patterns = (
        "chapters/*/claims.yaml",
        "chapters/*/runs.yaml",
        "data/results/*/*/*.json",
        "_build/results/*/*/*/*.json",
        "_build/results/*/*/*/figures/*.png",
    )
    for path in sorted(itertools.chain.from_iterable(root.glob(pattern) for pattern in patterns)):
        state = path.stat()
        found.update(f"{path.relative_to(root)}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return found.hexdigest()


# Nodes


def text(words: str, *classes: str) -> nodes.Node:
    return nodes.inline("", words, classes=list(classes)) if classes else nodes.Text(words)


def paragraph(*children: nodes.Node, classes: Sequence[str] = ()) -> nodes.paragraph:
    return nodes.paragraph("", "", *children, classes=list(classes))


def verdict_node(status: str) -> nodes.Node:
    """A verdict as words (and a mark), never as colour alone."""
    return text(MARKS.get(status, status), "book-verdict", status.replace(" ", "-"))


def link(docname: str, label: str, words: str) -> nodes.Node:
    """A reference to a section's label; one that does not exist is a warning, as everywhere in the book."""
    return addnodes.pending_xref(
        "",
        nodes.inline("", words),
        refdomain="std",
        reftype="ref",
        refexplicit=True,
        refwarn=True,
        reftarget=label,
        refdoc=docname,
    )


def table(
    headings: Sequence[str], rows: Iterable[Sequence[Cell]], *, leads: bool = False, widths: Sequence[int] = ()
) -> nodes.container:
    """A table in a frame of its own that scrolls sideways; `widths` are the columns' shares of it, in percent.

    With `leads` the first cell of every row is a sentence and gets a line of its own, across all columns.
    """
    columns = len(headings)

    def row(cells: Sequence[Cell], **options: Any) -> nodes.row:
        return nodes.row("", *(nodes.entry("", *cell, **options) for cell in cells))

    lines: list[nodes.row] = []
    for first, *others in rows:
        if leads:
            lines += [row([first], morecols=columns - 1, classes=["book-lead"]), row(others)]
        else:
            lines.append(row([first, *others]))
    group = nodes.tgroup("", cols=columns)
    group += [nodes.colspec(colwidth=width) for width in widths or [1] * columns]
    group += nodes.thead("", row([[paragraph(text(words))] for words in headings]))
    group += nodes.tbody("", *lines)
    given = nodes.table("", group, classes=["colwidths-given"] if widths else [])
    return nodes.container("", given, classes=["book-table", *(["book-leads"] if leads else [])])


# Directives and the role


class BookDirective(SphinxDirective):
    """What the directives share: the root, words in MyST, and the note that the page depends on results."""

    def run(self) -> list[nodes.Node]:
        root = root_of(self.env)
        pages_of(self.env)[self.env.docname] = fingerprint(root)
        try:
            return self.show(root)
        except ledger.LedgerError as error:  # a damaged file: one sentence, at the directive's line
            raise self.error(str(error)) from None

    def show(self, root: Path) -> list[nodes.Node]:
        raise self.error("a directive must say what it shows")

    def words(self, source: str) -> list[nodes.Node]:
        """A sentence with mathematics, emphasis and citations; comparisons typed in ASCII get their own signs."""
        source = source.replace("<= ", "≤ ").replace(">= ", "≥ ").replace(" +- ", " ± ")
        found, messages = self.state.inline_text(source, self.lineno)
        return [*found, *messages]

    def label_of(self, slug: str, claim: ledger.Claim) -> str:
        return f"{slug}-{claim.id.lower()}"

    def paper(self, claim: ledger.Claim) -> Cell:
        """The paper's value, nothing where it gives none; one that was not read in the paper itself says so."""
        if claim.paper is None:
            return []
        value = self.words(claim.paper.get("value", "no value"))
        note = [text(" (recalled, not verified)", "book-quiet")] if claim.paper["status"] == "recalled" else []
        return [paragraph(*value, *note)]


class Claims(BookDirective):
    """The claims of one chapter: what is claimed, what was measured, what the paper has, and the verdicts."""

    required_arguments = 1

    def show(self, root: Path) -> list[nodes.Node]:
        slug = self.arguments[0]
        chapter = ledger.load_claims(root, slug)
        verdicts = {scale: ledger.verdicts(root, slug, scale) for scale in SCALES}
        rows = [
            self.row(slug, claim, {scale: verdicts[scale][claim.id] for scale in SCALES}) for claim in chapter.claims
        ]
        return [table(["Expected", "Measured", "Paper"], rows, leads=True, widths=(30, 48, 22))]

    def row(self, slug: str, claim: ledger.Claim, verdicts: dict[str, ledger.Verdict]) -> list[Cell]:
        claimed = [link(self.env.docname, self.label_of(slug, claim), claim.id), text(". ")]
        source = paragraph(*self.words(f"{claim.source}; {claim.kind}"), classes=["book-quiet"])
        states = [[text(f"{scale}: ", "book-quiet"), verdict_node(verdicts[scale].status)] for scale in SCALES]
        spaced = [node for state in states for node in (*state, text("\u2003"))]
        lines = {scale: lines_of(verdicts[scale], SHOWN) for scale in SCALES}
        scale = next((s for s in ("quick", "full", "smoke") if lines[s]), "quick")
        expected = claim.expect.get(scale) or next(iter(claim.expect.values()))
        found = [paragraph(text(line)) for line in lines[scale]]
        if not found:
            found = [paragraph(text(verdicts[scale].status, "book-quiet"))]
        elif scale != "quick":
            found.append(paragraph(text(f"at {scale} scale", "book-quiet")))
        lead = [paragraph(*claimed, *self.words(claim.statement)), source, paragraph(*spaced)]
        return [lead, [paragraph(*self.words(expected))], found, self.paper(claim)]


class Expectations(BookDirective):
    """What to expect at each scale: time, memory and device of every notebook, and the value of every claim."""

    required_arguments = 1

    def show(self, root: Path) -> list[nodes.Node]:
        slug = self.arguments[0]
        chapter = ledger.load_claims(root, slug)
        costs = [
            [
                [paragraph(text(notebook))],
                *(self.cost(root, slug, notebook, scale, entry.get(scale)) for scale in SCALES),
            ]
            for notebook, entry in chapter.notebooks.items()
        ]
        values = [
            [[paragraph(link(self.env.docname, self.label_of(slug, claim), claim.id))], self.values(claim)]
            for claim in chapter.claims
        ]
        title = nodes.title("", "The value of each claim, with its tolerance")
        return [
            paragraph(text("Time, memory and device of each notebook; “here” is the run that this page shows.")),
            table(["Notebook", *SCALES], costs),
            nodes.admonition("", title, table(["Claim", "Expected"], values, widths=(12, 88)), classes=["dropdown"]),
        ]

    def cost(self, root: Path, slug: str, notebook: str, scale: str, entry: dict[str, Any] | None) -> Cell:
        if not entry:
            return [paragraph(text("not stated", "book-quiet"))]
        stated = f"{duration(float(entry['minutes']))}, {entry['memory_gb']:g} GB, {entry['device']}"
        cell: Cell = [paragraph(text(stated))]
        run = next((r for r in ledger.runs(root, slug, scale) if r.provenance["notebook"] == notebook), None)
        if run is not None:
            seconds, memory = run.provenance["wall_seconds"], run.provenance["peak_memory_gb"]
            where = "archived run" if scale == "full" else "here"
            found = f"{where}: {duration(seconds / 60)}, {memory:.1f} GB, {run.provenance['hardware']}"
            cell.append(paragraph(text(found), classes=["book-quiet"]))
        return cell

    def values(self, claim: ledger.Claim) -> Cell:
        """What to expect of a claim: once where all scales agree, else scale by scale."""
        if set(claim.scales) == set(SCALES) and len(set(claim.expect.values())) == 1:
            return [paragraph(*self.words(claim.expect["quick"]))]
        stated = [(scale, claim.expect.get(scale, "not checked")) for scale in SCALES]
        need = {
            scale: " (need not hold)" for scale, words in stated if scale not in claim.scales and words != "not checked"
        }
        return [
            paragraph(text(f"{scale}: ", "book-quiet"), *self.words(words), text(need.get(scale, ""), "book-quiet"))
            for scale, words in stated
        ]


class Scoreboard(BookDirective):
    """Every claim of every written chapter: its verdict at each scale with what was measured, and the paper's value."""

    def show(self, root: Path) -> list[nodes.Node]:
        found: list[nodes.Node] = []
        for slug in written(self.env):
            chapter = ledger.load_claims(root, slug)
            verdicts = {scale: ledger.verdicts(root, slug, scale) for scale in SCALES}
            counts = [count(chapter, verdicts[scale], scale) for scale in SCALES]
            rows = [
                [
                    [
                        paragraph(
                            link(self.env.docname, self.label_of(slug, c), c.id), text(". "), *self.words(c.statement)
                        )
                    ],
                    *(self.cell(verdicts[scale][c.id]) for scale in SCALES),
                    self.paper(c),
                ]
                for c in chapter.claims
            ]
            section = nodes.section(ids=[nodes.make_id(f"scoreboard-{slug}")])
            section += nodes.title("", "", *self.words(title_of(root, slug)))
            section += paragraph(*self.words(f"{'; '.join(counts)}. [The chapter](/chapters/{slug}/index)."))
            section += table([*(PLACES[s] for s in SCALES), "Paper"], rows, leads=True, widths=(25, 30, 27, 18))
            found.append(section)
        return found or [paragraph(text("No chapter is written yet."))]

    def cell(self, verdict: ledger.Verdict) -> Cell:
        return [
            paragraph(verdict_node(verdict.status)),
            *(paragraph(text(line), classes=["book-quiet"]) for line in lines_of(verdict, SHOWN_AT_A_GLANCE)),
        ]


class FullRuns(BookDirective):
    """Every named full-scale run: what it feeds, what it costs, its command, and whether its results are archived."""

    def show(self, root: Path) -> list[nodes.Node]:
        rows = []
        for slug in written(self.env):
            path = root / "chapters" / slug / "runs.yaml"
            if not path.is_file():
                continue
            content = ledger.read_yaml(path)
            if not isinstance(content, dict) or not isinstance(content.get("runs"), list):
                raise self.error(f"{path} is damaged: it must hold a list named 'runs'.")
            archived = [run.provenance for run in ledger.runs(root, slug, "full")]
            rows += [self.row(slug, run, archived) for run in content["runs"]]
        if not rows:
            return [paragraph(text("No full-scale run is defined yet."))]
        return [table(["Run", "Feeds", "Cost", "Archived"], rows, widths=(33, 32, 22, 13))]

    def row(self, slug: str, run: dict[str, Any], archived: list[dict[str, Any]]) -> list[Cell]:
        points = grid_points(run)
        needs = run.get("resources") or {}
        gpus, hours, memory = (needs.get(name, 0) for name in ("gpus", "hours", "memory_gb"))
        kept = {(p["parameters"]["seed"], repr(sorted(p["parameters"]["overrides"].items()))) for p in archived}
        done = sum((p["seed"], repr(sorted(p["overrides"].items()))) in kept for p in points)
        plural = "run" if len(points) == 1 else "runs"
        each = f"{len(points)} {plural}, each {hours:g} h, {f'{gpus:g} GPU' if gpus else 'no GPU'}, {memory:g} GB"
        total = f"{(gpus or 1) * hours * len(points):g} {'GPU-hours' if gpus else 'hours'} in all"
        state = "not yet" if not done else "yes" if done == len(points) else f"{done} of {len(points)}"
        command = nodes.literal("", f"make full CHAPTER={slug} RUN={run['name']}")
        return [
            [paragraph(text(f"{slug}: {run['name']}", "book-strong")), paragraph(command)],
            [paragraph(*self.words(str(run["figure"])))],
            [paragraph(text(each)), paragraph(text(total))],
            [paragraph(text(state))],
        ]


class ResultFigure(BookDirective):
    """A run's picture with its alternative text; the content, if any, is its caption; `:link:` names a page."""

    required_arguments = 1
    has_content = True
    option_spec: ClassVar[dict[str, Any]] = {"alt": directives.unchanged_required, "link": directives.unchanged}

    def show(self, root: Path) -> list[nodes.Node]:
        slug, notebook, name = path_of(self.arguments[0])
        if "alt" not in self.options:
            raise self.error("a picture needs its words: give :alt:.")
        found = shown_run(root, slug, notebook)
        picture = None if found is None else found[1].folder / "figures" / f"{name}.png"
        if found is None or picture is None or not picture.is_file():
            words = f"Not run yet: this picture is drawn by {slug}/{notebook} (make book)."
            return [nodes.container("", paragraph(text(words)), classes=["book-missing"])]
        self.env.note_dependency(str(picture))
        image = nodes.image(uri=os.path.relpath(picture, Path(self.env.doc2path(self.env.docname)).parent))
        image["alt"] = self.options["alt"]
        figure = nodes.figure("", self.linked(image), classes=["book-figure"])
        caption: list[nodes.Node] = self.words(" ".join(self.content)) if self.content else []
        if found[0] != "quick":
            caption.append(text(f" (From a {found[0]} run: sizes for tests, not the book's.)", "book-quiet"))
        if caption:
            figure += nodes.caption("", "", *caption)
        return [figure]

    def linked(self, image: nodes.image) -> nodes.Node:
        """The image, as a link to the page of `:link:` (its address is known when all pages are: `aim_pictures`)."""
        if "link" not in self.options:
            return image
        return nodes.reference("", "", image, refuri="", internal=True, book_page=self.options["link"])


class Value(SphinxRole):
    """A number from a run, in a sentence: `` {value}`scaling/experiments/alpha_M:.2f` ``."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        root = root_of(self.env)
        pages_of(self.env)[self.env.docname] = fingerprint(root)
        place, _, form = self.text.partition(":")
        try:
            slug, notebook, name = path_of(place)
            found = shown_run(root, slug, notebook)
            if found is None:
                return [text("not run", "book-quiet")], []
            scale, run = found
            if name not in run.values:
                raise ledger.LedgerError(f"{slug}/{notebook} has no value {name!r}; {nearest(name, run.values)}.")
            words = format(run.values[name], form)
        except (ValueError, TypeError) as error:
            message = self.inliner.reporter.warning(f"{{value}}`{self.text}`: {error}", line=self.lineno)
            return [text("no such value", "book-quiet")], [message]
        return [text(words if scale == "quick" else f"{words} ({scale} run)")], []


def path_of(words: str) -> tuple[str, str, str]:
    """Chapter, notebook and name of a result; LedgerError when the words are something else."""
    parts = words.strip().split("/")
    if len(parts) != 3:
        raise ledger.LedgerError(f"{words!r} must read <chapter>/<notebook>/<name>.")
    return parts[0], parts[1], parts[2]


def count(chapter: ledger.Chapter, verdicts: dict[str, ledger.Verdict], scale: str) -> str:
    """How many of the claims that must hold at a scale do, and what became of the others."""
    required = [verdicts[claim.id].status for claim in chapter.claims if scale in claim.scales]
    if set(required) <= {"not run"}:
        return f"{PLACES[scale]}: not run"
    others = {status: required.count(status) for status in ("fails", "not checked", "not run") if status in required}
    words = [f"{required.count('holds')} of {len(required)} hold"]
    words += [f"{number} {'fail' if status == 'fails' and number > 1 else status}" for status, number in others.items()]
    return f"{PLACES[scale]}: {', '.join(words)}"


def duration(minutes: float) -> str:
    if minutes < 1:
        return f"{max(1, math.ceil(minutes * 60))} s"
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.3g} h"


# Sphinx


def changed_pages(app: Sphinx, env: BuildEnvironment, *_: set[str]) -> list[str]:
    """Pages whose results changed since they were built."""
    found = pages_of(env)
    now = fingerprint(root_of(env)) if found else ""
    return [page for page, before in found.items() if before != now]


def aim_pictures(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Give every linked picture the address of its page."""
    for reference in doctree.findall(lambda node: isinstance(node, nodes.reference) and "book_page" in node):
        page = reference["book_page"]
        if page in app.env.found_docs:
            reference["refuri"] = app.builder.get_relative_uri(docname, page)
        else:
            logger.warning("{result-figure} links to %r, which is no page of the book", page, location=reference)


def forget(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    pages_of(env).pop(docname, None)


def merge(app: Sphinx, env: BuildEnvironment, docnames: list[str], other: BuildEnvironment) -> None:
    pages_of(env).update({page: mark for page, mark in pages_of(other).items() if page in docnames})


def without_addresses(app: Sphinx, config: Config) -> None:
    """Pages that need no network and name no address: launch buttons only with a repository, no live-code service."""
    if config.html_theme_options.get("repository_url"):
        config.html_theme_options["use_repository_button"] = True
        config.html_theme_options.setdefault("launch_buttons", {})["colab_url"] = "https://colab.research.google.com"
    for event in ("env-before-read-docs", "doctree-resolved"):
        listeners = app.events.listeners.get(event, [])
        listeners[:] = [one for one in listeners if one.handler.__module__ != "sphinx_thebe"]


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_config_value("book_root", "", "env", (str,))
    for name, directive in (
        ("claims", Claims),
        ("expectations", Expectations),
        ("scoreboard", Scoreboard),
        ("full-runs", FullRuns),
        ("result-figure", ResultFigure),
    ):
        app.add_directive(name, directive)
    app.add_role("value", Value())
    app.connect("config-inited", without_addresses)
    app.connect("env-get-outdated", changed_pages)
    app.connect("doctree-resolved", aim_pictures)
    app.connect("env-purge-doc", forget)
    app.connect("env-merge-info", merge)
    return {"version": "1", "env_version": 1, "parallel_read_safe": True, "parallel_write_safe": True}
