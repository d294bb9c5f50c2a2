"""The ledger: keys, runs as folders, claims, resumption, the archive - each against a small book made on the spot."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import pyplot as plt
from tenpapers import ledger, presets
from tenpapers.ledger import _key, _pieces
from tenpapers.ledger.__main__ import main


@dataclasses.dataclass(frozen=True)
class Settings:
    n: int = presets.field(minimum=1)


TABLE = {scale: Settings(n) for scale, n in (("smoke", 2), ("quick", 3), ("full", 4))}
CLAIM = {
    "id": "C1",
    "statement": "Two and two are four.",
    "source": "Theorem 1",
    "kind": "identity",
    "checked_in": ["experiments"],
    "scales": ["smoke", "quick"],
    "expect": {"smoke": "4", "quick": "4"},
}


def write_claims(book: Path, *claims: dict) -> None:
    (book / "chapters/scaling/claims.yaml").write_text(yaml.safe_dump({"claims": list(claims)}))


def write_notebook(
    book: Path, *cells: str, data: tuple[str, ...] = ("data/reported/scaling.csv", "data/results/scaling")
):
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell, id=f"c{i}") for i, cell in enumerate(cells)],
        metadata={"tenpapers": {"data": list(data)}},
    )
    path = book / "chapters/scaling/experiments.ipynb"
    nbformat.write(notebook, path)
    return path


def git(book: Path, *words: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "-C", str(book), *identity, *words], check=True, capture_output=True)


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A book root with one chapter, committed, and the working folder in it."""
    root = tmp_path / "a book"
    for folder in ("chapters/scaling", "data/reported"):
        (root / folder).mkdir(parents=True)
    (root / "_toc.yml").write_text("format: jb-book\nroot: intro\n")
    (root / "requirements.lock").write_text("torch==2.13.0\n")
    (root / "data/reported/scaling.csv").write_text(
        "item,setting,metric,value,source,verified\nFig. 1,a=2,alpha_M,1.07,Fig. 1,verified\n"
    )
    (root / ".gitignore").write_text("_build/\n")
    write_claims(root, CLAIM)
    write_notebook(root, "from tenpapers import ledger")
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "book")
    monkeypatch.chdir(root)
    return root


def begin(scale="quick", seed=0, device="cpu", overrides=None):
    return ledger.start(
        "scaling", "experiments", TABLE, scale=scale, seed=seed, device=device, overrides=overrides or {}
    )


def complete(scale="quick", device="auto", **given):
    run = begin(scale, device=device, **given)
    run.table("sums", pd.DataFrame({"n": [1, 2], "sum": [2.0, 4.0]}))
    run.claim("C1", 2 + 2, expected=4, tolerance=0)
    run.finish()
    return run.folder


# ---------------------------------------------------------------- a run


def test_a_finished_run_leaves_its_folder(book):
    run = begin(device="auto")
    frame = pd.DataFrame({"x": [1.0, 0.1]})
    assert run.table("t", frame) is frame
    assert run.value("slope", np.float64(-0.5)) == -0.5
    figure, ax = plt.subplots()
    ax.plot([0, 1])
    run.figure("headline", figure)
    assert run.claim("C1", torch.tensor(4), expected=4, tolerance=0)
    run.finish()
    assert run.folder == book / "_build/results/scaling/quick/experiments"
    pd.testing.assert_frame_equal(pd.read_csv(run.folder / "tables/t.csv"), frame)
    assert json.loads((run.folder / "values.json").read_text()) == {"slope": -0.5}
    assert (run.folder / "figures/headline.png").read_bytes().startswith(b"\x89PNG")
    provenance = json.loads((run.folder / "provenance.json").read_text())
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    assert provenance["commit"] == head
    assert provenance["clean"] is True
    assert provenance["parameters"] == {"scale": "quick", "seed": 0, "device": "auto", "overrides": {}}
    assert provenance["settings"] == {"n": 3}
    assert (
        provenance["key"]["digest"]
        == ledger.key(book / "chapters/scaling/experiments.ipynb", provenance["parameters"]).digest
    )
    assert provenance["wall_seconds"] >= 0
    assert provenance["peak_memory_gb"] > 0.01
    assert set(provenance["versions"]) >= {"python", "torch", "numpy"}


def test_an_uncommitted_input_is_recorded(book):
    (book / "notes.txt").write_text("not an input")
    assert json.loads((complete() / "provenance.json").read_text())["clean"] is True
    (book / "data/reported/scaling.csv").write_text(REPORTED)
    assert json.loads((complete() / "provenance.json").read_text())["clean"] is False


def test_a_run_that_fails_keeps_the_earlier_one(book):
    folder = complete()
    before = (folder / "tables/sums.csv").read_bytes()
    run = begin(device="auto")
    run.table("sums", pd.DataFrame({"n": [0]}))  # and here the run dies
    assert (folder / "tables/sums.csv").read_bytes() == before
    complete()
    assert sorted(p.name for p in folder.parent.iterdir()) == ["experiments"]


def test_what_a_killed_process_left_is_swept(book):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    folder = complete()
    left = folder.with_name(f".experiments.{os.uname().nodename}.{dead.pid}")
    left.mkdir()
    complete()
    assert not left.exists()


def test_run_names_tell_runs_apart():
    names = [
        ledger.run_name("experiments"),
        ledger.run_name("experiments", 3),
        ledger.run_name("experiments", 0, "cuda"),
        ledger.run_name("experiments", 0, "auto", {"M": [16]}),
        ledger.run_name("experiments", 0, "auto", {"M": [17]}),
        ledger.run_name("experiments", 3, "auto", {"M": [17]}),
    ]
    assert names[:2] == ["experiments", "experiments-seed3"]
    assert len(set(names)) == len(names)
    assert ledger.run_name("e", 0, "auto", {"M": (16,), "a": 2}) == ledger.run_name("e", 0, "auto", {"a": 2, "M": [16]})


def test_generators_are_named_streams_of_the_seed(book):
    def draw(run, *names):
        return torch.rand(4, generator=run.generator(*names)).tolist()

    run, other = begin(), begin(seed=1)
    assert draw(run, "mc", 3) == draw(begin(), "mc", 3)
    draws = [draw(run, "mc", 3), draw(run, "mc", 4), draw(run, "sketch", 3), draw(other, "mc", 3)]
    assert len({tuple(d) for d in draws}) == 4


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"scale": "fulll"}, "did you mean 'full'?"),
        ({"seed": -1}, "seed is -1; it must be a whole number, 0 or above."),
        ({"overrides": {"m": 3}}, "unknown field 'm'"),
        ({"overrides": {"n": 0}}, "n is 0; it must be at least 1."),
        ({"device": "tpu"}, "device is 'tpu'"),
    ],
)
def test_bad_parameters_are_refused_before_anything_is_written(book, given, words):
    with pytest.raises(ValueError, match=r"^[^\n]*$") as caught:
        begin(**given)
    assert words in str(caught.value)
    assert not (book / "_build").exists()


def test_an_unknown_chapter_is_named_with_the_nearest(book):
    with pytest.raises(ledger.LedgerError, match="no chapter 'scalling' here; did you mean 'scaling'"):
        ledger.start("scalling", "experiments", TABLE, scale="quick", seed=0, device="cpu", overrides={})
    with pytest.raises(ledger.LedgerError, match=r"derivation\.ipynb does not exist"):
        ledger.start("scaling", "derivation", TABLE, scale="quick", seed=0, device="cpu", overrides={})


def test_a_results_folder_that_cannot_be_written_is_named(book):
    (book / "_build").write_text("a file where a folder must be")
    with pytest.raises(ledger.LedgerError, match=r"_build/results/scaling/quick cannot be written \(Not a directory\)"):
        begin()


def test_away_from_the_book_a_run_still_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = begin(device="auto")
    run.claim("C1", 4, expected=4, tolerance=0)
    run.finish()
    assert (tmp_path / "tenpapers-results/scaling/quick/experiments/verdicts.json").is_file()
    with pytest.raises(ledger.LedgerError, match="is part of the book"):
        begin().reported()


# ---------------------------------------------------------------- claims


def test_every_kind_of_check_can_pass_and_fail(book):
    run = begin()
    assert run.claim("C1", -0.48, expected=-0.5, tolerance=0.05)
    assert not run.claim("C1", -0.44, expected=-0.5, tolerance=0.05)
    assert run.claim("C1", 1.0, at_most=1.0)
    assert not run.claim("C1", 1.01, at_most=1.0)
    assert run.claim("C1", 0.5, at_least=0.1, at_most=1)
    assert not run.claim("C1", 0.05, at_least=0.1, at_most=1)
    assert run.claim("C1", "SGD first", holds=True)
    assert not run.claim("C1", "SGD last", holds=False)
    for kind in ({"expected": 0.0, "tolerance": 1.0}, {"at_most": 1.0}, {"at_least": 1.0}):
        assert not run.claim("C1", float("nan"), **kind)


@pytest.mark.parametrize("kind", [{}, {"expected": 1.0}, {"tolerance": 1.0}, {"holds": True, "at_most": 1.0}])
def test_a_check_must_be_of_one_kind(book, kind):
    with pytest.raises(ledger.LedgerError, match="one of the three"):
        begin().claim("C1", 1.0, **kind)


def test_a_check_must_name_a_claim_of_this_notebook(book):
    write_claims(book, CLAIM, CLAIM | {"id": "C2", "checked_in": ["derivation"]})
    run = begin()
    with pytest.raises(ledger.LedgerError, match=r"'C11' is not in scaling's claims\.yaml; did you mean 'C1'"):
        run.claim("C11", 1.0, at_most=2)
    with pytest.raises(ledger.LedgerError, match="does not list for it"):
        run.claim("C2", 1.0, at_most=2)


def test_a_run_cannot_finish_with_an_unchecked_claim(book):
    run = begin()
    with pytest.raises(ledger.LedgerError, match="no cell checked C1"):
        run.finish()
    assert not run.folder.exists()


def test_a_partial_run_says_what_it_leaves_out(book):
    everywhere = CLAIM | {"scales": ["quick", "full"]}
    write_claims(book, everywhere, everywhere | {"id": "C2"})
    git(book, "commit", "-qam", "claims")
    with pytest.raises(ledger.LedgerError, match="cannot leave out C1"):
        begin().leave_out(["C1"], "no time")
    with pytest.raises(ledger.LedgerError, match="'C3' is not in scaling's claims"):
        begin(overrides={"n": 9}).leave_out(["C3"], "no time")
    run = begin("full", overrides={"n": 9})
    run.leave_out(["C2"], "only the first part")
    with pytest.raises(ledger.LedgerError, match="no cell checked C1"):
        run.finish()
    run.claim("C1", 4, expected=4, tolerance=0)
    run.finish()
    ledger.archive(run.folder, book)
    found = ledger.verdicts(book, "scaling", "full")
    assert (found["C1"].status, found["C2"].status) == ("holds", "not run")


def test_a_partial_run_leaves_claims_out_by_name(book):
    write_claims(book, CLAIM, CLAIM | {"id": "C2"})
    with pytest.raises(ledger.LedgerError, match="without overrides checks every claim; it cannot leave out C2"):
        begin().leave_out(["C2"], "not asked for")
    run = begin(overrides={"n": 7})
    with pytest.raises(ledger.LedgerError, match="did you mean 'C2'"):
        run.leave_out(["C22"], "not asked for")
    run.leave_out(["C2"], "not asked for")
    with pytest.raises(ledger.LedgerError, match="no cell checked C1"):
        run.finish()
    run.claim("C1", 4, expected=4, tolerance=0)
    run.finish()
    assert json.loads((run.folder / "provenance.json").read_text())["left_out"] == {"C2": "not asked for"}


def test_an_archived_partial_run_says_nothing_of_what_it_left_out(book):
    write_claims(book, CLAIM | {"scales": ["full"]}, CLAIM | {"id": "C2", "scales": ["full"]})
    git(book, "commit", "-qam", "claims")
    run = begin("full", device="auto", overrides={"n": 7})
    run.leave_out(["C2"], "not asked for")
    run.claim("C1", 4, expected=4, tolerance=0)
    run.finish()
    ledger.archive(run.folder, book, "part")
    assert {id: v.status for id, v in ledger.verdicts(book, "scaling", "full").items()} == {
        "C1": "holds",
        "C2": "not run",
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("claims: [", "damaged: it is not valid YAML"),
        ("claims: 3", "must hold a list named 'claims'"),
        ("claims: [3]", "claim 1 is not a mapping"),
        (yaml.safe_dump({"claims": [CLAIM, CLAIM]}), "two claims with the id 'C1'"),
        (yaml.safe_dump({"claims": [CLAIM | {"kind": "law"}]}), "has the kind 'law'"),
        (
            yaml.safe_dump({"claims": [CLAIM | {"statemant": "x"}]}),
            "unknown field 'statemant'; did you mean 'statement'",
        ),
        (yaml.safe_dump({"claims": [CLAIM | {"statement": ""}]}), "has no statement"),
        (yaml.safe_dump({"claims": [CLAIM | {"scales": ["quik"]}]}), "names the scale 'quik'"),
        (yaml.safe_dump({"claims": [CLAIM | {"scales": "quick"}]}), "it must be a list"),
        (yaml.safe_dump({"claims": [CLAIM | {"paper": {"value": "1"}}]}), "without the status"),
    ],
)
def test_a_damaged_claims_file_is_named_before_anything_is_computed(book, text, words):
    (book / "chapters/scaling/claims.yaml").write_text(text)
    with pytest.raises(ledger.LedgerError, match=r"^[^\n]*$") as caught:
        begin()
    assert words in str(caught.value)
    assert "chapters/scaling/claims.yaml" in str(caught.value)
    assert not (book / "_build").exists()


def test_verdicts_and_report(book, capsys):
    write_claims(
        book, CLAIM, CLAIM | {"id": "C2", "statement": "False here.", "scales": ["full"], "expect": {"full": "1"}}
    )
    assert ledger.verdicts(book, "scaling", "quick")["C1"].status == "not run"
    assert main(["report"]) == 1
    run = begin(device="auto")
    run.claim("C1", 4, expected=4, tolerance=0)
    run.claim("C2", 2.0, at_most=1.0)
    run.finish()
    assert {id: v.status for id, v in ledger.verdicts(book, "scaling", "quick").items()} == {
        "C1": "holds",
        "C2": "not required",
    }
    assert main(["report"]) == 0
    assert "scaling: 1 of 1 claims hold at quick." in capsys.readouterr().out
    run = begin(device="auto")
    run.claim("C1", 4, expected=4, tolerance=0)
    run.claim("C1", 5, expected=4, tolerance=0)  # one check of several fails: the claim fails
    run.finish()
    assert ledger.verdicts(book, "scaling", "quick")["C1"].status == "fails"
    assert main(["report"]) == 1
    assert "C1 fails: Two and two are four." in capsys.readouterr().out
    assert ledger.verdicts(book, "scaling", "smoke")["C1"].status == "not run"


def test_a_damaged_result_is_named(book, capsys):
    folder = complete()
    (folder / "verdicts.json").write_text("[{")
    assert main(["report"]) == 2
    assert "verdicts.json is damaged: it is not valid JSON" in capsys.readouterr().err


# ---------------------------------------------------------------- the key


def mini_package(tmp_path, monkeypatch) -> Path:
    """A package `tenpapers` of a few small modules, in the place of the real one for the key."""
    package = tmp_path / "lib/tenpapers"
    (package / "scaling").mkdir(parents=True)
    (package / "other").mkdir()
    sources = {
        "__init__.py": "",
        "shared.py": "import tenpapers.base\n",
        "base.py": "",
        "unused.py": "",
        "scaling/__init__.py": "from ._risk import risk\n",
        "scaling/_risk.py": "def risk():\n    from tenpapers import shared\n",
        "scaling/_lonely.py": "",
        "other/__init__.py": "from .. import base\n",
    }
    for name, source in sources.items():
        (package / name).write_text(source)
    monkeypatch.setattr(_key, "PACKAGE", package)
    return package


def test_the_key_follows_imports_and_nothing_else(book, tmp_path, monkeypatch):
    package = mini_package(tmp_path, monkeypatch)
    notebook = write_notebook(book, "from tenpapers.scaling import risk", "%matplotlib inline\n!ls\nx = 1")
    given = ledger.parameters("quick", 0)
    first = ledger.key(notebook, given)
    library = [name for name in first.components if name.startswith("lib/")]
    assert library == [
        f"lib/tenpapers/{n}" for n in ("__init__.py", "base.py", "scaling/__init__.py", "scaling/_risk.py", "shared.py")
    ]

    def differs(path: Path) -> list[str]:
        before = path.read_text()
        path.write_text(before + "\n# changed\n")
        names = ledger.changed(first.components, ledger.key(notebook, given).components)
        path.write_text(before)
        return names

    assert differs(package / "base.py") == ["lib/tenpapers/base.py"]
    assert differs(package / "scaling/_risk.py") == ["lib/tenpapers/scaling/_risk.py"]
    assert differs(book / "data/reported/scaling.csv") == ["data/reported/scaling.csv"]
    assert differs(book / "requirements.lock") == ["requirements.lock"]
    for elsewhere in (package / "unused.py", package / "scaling/_lonely.py", package / "other/__init__.py"):
        assert differs(elsewhere) == []
    assert differs(book / "chapters/scaling/claims.yaml") == []
    (book / "chapters/scaling/index.md").write_text("words")
    assert ledger.key(notebook, given) == first


def test_the_key_covers_cells_and_parameters_but_not_prose_or_papermill(book):
    notebook = write_notebook(book, "x = 1")
    first = ledger.key(notebook, ledger.parameters("quick", 0))
    content = nbformat.read(notebook, 4)
    content.cells.insert(0, nbformat.v4.new_markdown_cell("# words", id="m"))
    content.cells.insert(1, nbformat.v4.new_code_cell("seed = 5", id="p", metadata={"tags": ["injected-parameters"]}))
    content.cells[-1].outputs = [nbformat.v4.new_output("stream", text="1")]
    nbformat.write(content, notebook)
    assert ledger.key(notebook, ledger.parameters("quick", 0)) == first
    for other_parameters in (("smoke", 0), ("quick", 1), ("quick", 0, "cpu"), ("quick", 0, "auto", {"n": 4})):
        other = ledger.key(notebook, ledger.parameters(*other_parameters))
        assert ledger.changed(first.components, other.components) == ["the parameters"]
    write_notebook(book, "x = 2")
    other = ledger.key(notebook, ledger.parameters("quick", 0))
    assert ledger.changed(first.components, other.components) == ["the notebook's code cells"]


def test_archived_results_are_an_input_except_at_full_scale(book):
    notebook = write_notebook(book, "x = 1")
    quick, full = (ledger.key(notebook, ledger.parameters(scale, 0)) for scale in ("quick", "full"))
    place = book / "data/results/scaling/big"
    place.mkdir(parents=True)
    (place / "t.csv").write_text("x\n1\n")
    after = ledger.key(notebook, ledger.parameters("quick", 0))
    assert ledger.changed(quick.components, after.components) == ["data/results/scaling/big/t.csv (new)"]
    assert ledger.key(notebook, ledger.parameters("full", 0)) == full


def test_a_declared_file_must_exist_and_an_undeclared_one_is_refused(book):
    notebook = write_notebook(book, "x = 1", data=("data/reported/relu.csv",))
    with pytest.raises(
        ledger.LedgerError, match=r"declares the data file data/reported/relu\.csv, which does not exist"
    ):
        ledger.key(notebook, ledger.parameters("quick", 0))
    write_notebook(book, "x = 1", data=())
    run = begin()
    with pytest.raises(ledger.LedgerError, match="without declaring it"):
        run.reported()
    with pytest.raises(ledger.LedgerError, match="without declaring it"):
        run.archived("t")


REPORTED = "item,setting,metric,value,source,verified\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not a table"),
        ('item,setting\n"Fig. 1', "is not a table"),
        ("item,setting,metric,value\nFig. 1,a=2,alpha_M,1.07\n", "lacks the column 'source'"),
        (REPORTED + "Fig. 1,a=2,alpha_M,1.07,Fig. 1,sure\n", "marks a number 'sure'"),
        (REPORTED + "Fig. 1,a=2,alpha_M,,Fig. 1,verified\n", "a row without item, metric or value"),
    ],
)
def test_a_damaged_table_is_named_before_anything_is_computed(book, text, words):
    (book / "data/reported/scaling.csv").write_text(text)
    with pytest.raises(ledger.LedgerError, match=r"^[^\n]*$") as caught:
        begin()
    assert words in str(caught.value)
    assert "data/reported/scaling.csv is damaged" in str(caught.value)
    assert not (book / "_build").exists()


def test_a_damaged_archive_is_named_before_anything_is_computed(book):
    place = book / "data/results/scaling/big"
    place.mkdir(parents=True)
    (place / "t.csv").write_text("")
    with pytest.raises(ledger.LedgerError, match=r"big/t\.csv is damaged"):
        begin()
    assert begin("full").archived("t") is None  # at full scale the archive is no input


def test_a_number_of_the_paper_is_read_by_name(book):
    assert begin().paper("Fig. 1", "alpha_M") == 1.07
    with pytest.raises(ledger.LedgerError, match=r"has 0 rows for alpha_N of Fig\. 1; it must have one"):
        begin().paper("Fig. 1", "alpha_N")
    (book / "data/reported/scaling.csv").write_text(REPORTED + "Fig. 1,a=2,alpha_M,high,Fig. 1,recalled\n")
    with pytest.raises(ledger.LedgerError, match=r"gives 'high' for alpha_M of Fig\. 1, which is no number"):
        begin().paper("Fig. 1", "alpha_M")


def test_a_finished_run_clears_the_checkpoints_of_earlier_inputs(book):
    begin(device="auto").map("p", lambda item: item, [1])
    (book / "requirements.lock").write_text("torch==2.14.1\n")
    complete()
    assert not list((book / "_build/checkpoints").rglob("*.json"))


def test_a_damaged_notebook_is_named(book):
    (book / "chapters/scaling/experiments.ipynb").write_text("{")
    with pytest.raises(ledger.LedgerError, match=r"experiments\.ipynb is damaged"):
        begin()


def test_the_real_library_is_followed():
    modules = _key.library_modules(["from tenpapers import ledger"])
    assert {"lib/tenpapers/__init__.py", "lib/tenpapers/ledger/_run.py", "lib/tenpapers/plots.py"} <= set(modules)
    assert not any("scaling" in name for name in modules)


# ---------------------------------------------------------------- resumption


def test_map_resumes_after_a_kill_with_the_same_result(book):
    script = textwrap.dedent(
        """
        import os, signal, sys, torch
        sys.path.insert(0, sys.argv[2])
        from test_ledger import TABLE, ledger
        run = ledger.start("scaling", "experiments", TABLE, scale="quick", seed=0, device="auto", overrides={})
        stop = int(sys.argv[1])
        def piece(item):
            if item == stop:
                os.kill(os.getpid(), signal.SIGKILL)
            return {"x": torch.randn(3, generator=run.generator("mc", item), dtype=torch.float64), "i": item}
        import pandas as pd
        rows = run.map("mc", piece, range(6))
        run.table("mc", pd.DataFrame([{"i": r["i"], "x": float(r["x"].sum())} for r in rows]))
        run.claim("C1", 4, expected=4, tolerance=0)
        run.finish()
        """
    )

    def attempt(stop):
        return subprocess.run(
            [sys.executable, "-c", script, str(stop), str(Path(__file__).parent)], check=False, capture_output=True
        )

    assert attempt(4).returncode == -signal.SIGKILL
    pieces = sorted((book / "_build/checkpoints").rglob("*.json"))
    assert [p.name for p in pieces] == [f"{i:06d}.json" for i in range(4)]
    assert attempt(-1).returncode == 0
    folder = book / "_build/results/scaling/quick/experiments"
    assert json.loads((folder / "provenance.json").read_text())["resumed_pieces"] == 4
    resumed = (folder / "tables/mc.csv").read_bytes()
    assert not list((book / "_build/checkpoints").rglob("*.json"))
    assert attempt(-1).returncode == 0
    assert json.loads((folder / "provenance.json").read_text())["resumed_pieces"] == 0
    assert (folder / "tables/mc.csv").read_bytes() == resumed


def test_a_training_has_a_folder_of_its_own_until_the_run_ends(book):
    run = begin(device="auto")
    folder = run.checkpoints("transformer")
    assert folder.is_dir()
    assert begin(device="auto").checkpoints("transformer") == folder
    assert begin(seed=1).checkpoints("transformer") != folder
    run.claim("C1", 4, expected=4, tolerance=0)
    run.finish()
    assert not folder.exists()


def test_a_damaged_piece_is_named_and_computed_again(book):
    run = begin()
    calls = []

    def piece(item):
        calls.append(item)
        return item * 0.1

    assert run.map("p", piece, [1, 2, 3]) == [0.1, 0.2, 0.1 * 3]
    path = next((book / "_build/checkpoints").rglob("000001.json"))
    path.write_text(path.read_text()[:-3])
    with pytest.warns(UserWarning, match=r"000001\.json is damaged; it is passed over"):
        assert run.map("p", piece, [1, 2, 3]) == [0.1, 0.2, 0.1 * 3]
    assert calls == [1, 2, 3, 2]
    assert run.map("p", piece, [1, 5, 3])[1] == 0.5  # a piece of another item is not taken for this one's


def test_pieces_of_other_inputs_are_not_taken_up(book):
    assert begin().map("p", lambda item: item, [1]) == [1]
    assert begin(seed=1).map("p", lambda item: -item, [1]) == [-1]
    assert begin().map("p", lambda item: -item, [1]) == [1]


def test_a_full_disk_is_named_and_loses_nothing(book, monkeypatch):
    folder = complete()
    before = (folder / "tables/sums.csv").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    run = begin(device="auto")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ledger.LedgerError, match="could not be written \\(No space left on device\\)"):
        run.table("sums", pd.DataFrame({"n": [0]}))
    assert (folder / "tables/sums.csv").read_bytes() == before


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_pieces_give_back_every_bit(value):
    assert _pieces.decode(json.loads(json.dumps(_pieces.encode(value)))) == value


@given(st.lists(st.floats(width=64), max_size=6))
def test_arrays_and_tensors_come_back_exactly(values):
    tensor, array = torch.tensor(values, dtype=torch.float64), np.array(values, dtype=np.float64)
    back = _pieces.decode(json.loads(json.dumps(_pieces.encode({"t": tensor, "a": array, "p": (1, np.int64(2))}))))
    assert torch.equal(back["t"].nan_to_num(7.0), tensor.nan_to_num(7.0))
    np.testing.assert_array_equal(back["a"], array)
    assert back["p"] == [1, 2]


def test_a_piece_of_another_type_is_refused():
    with pytest.raises(ledger.LedgerError, match="of type set"):
        _pieces.encode({1, 2})


# ---------------------------------------------------------------- the archive and adoption


def test_a_full_run_is_archived_and_read_back(book):
    folder = complete("full")
    assert main(["archive", str(folder), "--name", "big"]) == 0
    place = book / "data/results/scaling/big"
    assert sorted(p.name for p in place.iterdir()) == ["provenance.json", "sums.csv", "values.json", "verdicts.json"]
    assert begin().archived("sums")["run"].tolist() == ["big", "big"]
    assert begin("full").archived("sums") is None
    assert begin().archived("nothing") is None
    assert ledger.verdicts(book, "scaling", "full")["C1"].status == "holds"


def test_the_archive_refuses_what_is_no_full_clean_run(book, capsys):
    def refused(folder, *words):
        assert main(["archive", str(folder), *words]) == 2
        return capsys.readouterr().err

    assert "only full runs are archived" in refused(complete("smoke"))
    assert "only full runs are archived" in refused(complete("quick"))
    full = complete("full")
    bare = full.with_name("bare")
    shutil.copytree(full, bare)
    (bare / "provenance.json").unlink()
    assert "has no provenance.json" in refused(bare)
    assert main(["archive", str(full)]) == 0
    assert "pass --replace" in refused(full)
    assert main(["archive", str(full), "--replace"]) == 0
    (full / "tables/sums.csv").write_text("n,sum\n1,3.0\n")
    assert "is not the table that the run wrote" in refused(full, "--name", "again")
    (book / "data/reported/scaling.csv").write_text(REPORTED)
    assert "uncommitted changes" in refused(complete("full"), "--name", "again")
    assert not (book / "data/results/scaling/again").exists()


def test_a_run_from_elsewhere_is_adopted_only_under_todays_key(book, tmp_path, capsys):
    folder = complete()
    elsewhere = tmp_path / "from the cluster"
    shutil.move(folder, elsewhere)
    assert main(["adopt", str(elsewhere)]) == 0
    assert ledger.verdicts(book, "scaling", "quick")["C1"].status == "holds"
    capsys.readouterr()
    (book / "requirements.lock").write_text("torch==2.14.1\n")
    assert main(["adopt", str(elsewhere)]) == 2
    assert "from other inputs than today's tree: requirements.lock." in capsys.readouterr().err
    assert folder.exists()


def test_commands_outside_the_book_say_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["report"]) == 2
    assert "is not inside the book" in capsys.readouterr().err
