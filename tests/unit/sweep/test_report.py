"""The report in a real browser: it draws, nothing goes wrong, and it answers to clicks."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from repository_builder.errors import RepositoryError
from repository_builder.sweep.report import render, write
from tests.unit.sweep.documents import simulated

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CLICKS = """<script>
const before = document.getElementById("batches-of").textContent;
const dots = [...document.querySelectorAll("#scatter .dot")];
const other = dots.find((dot) => !dot.classList.contains("chosen"));
other.dispatchEvent(new MouseEvent("click", { bubbles: true }));
const after = document.getElementById("batches-of").textContent;
document.querySelector("#scatter .dot").dispatchEvent(new PointerEvent("pointermove", { clientX: 5, clientY: 5 }));
const head = document.querySelectorAll("#points th")[11];
head.click(); head.click();
const column = [...document.querySelectorAll("#points tbody tr")].map((row) => Number(row.children[11].textContent));
document.body.dataset.result = JSON.stringify({
  dots: dots.length, changed: before !== after, tip: document.getElementById("tip").textContent,
  sorted: column.every((value, n) => !n || value >= column[n - 1]),
  chosen: document.querySelectorAll("#scatter .chosen").length,
  knobs: document.querySelectorAll("#knobs svg").length, bars: document.querySelectorAll("#breakdown rect").length,
  batches: document.querySelectorAll("#batches rect").length, pairs: document.querySelectorAll("#pairs circle").length,
  budget: document.querySelectorAll("#scatter .budget").length,
  front: document.querySelector("#scatter .front").getAttribute("points").split(" ").length,
  overflow: document.documentElement.scrollWidth > document.documentElement.clientWidth,
  csv: asCsv().split("\\n").length, headline: document.getElementById("headline").textContent,
});
</script>"""


def browse(page: str, folder: Path) -> tuple[str, str]:
    """The page's elements after its scripts ran, and what the browser logged."""
    if BROWSER is None:
        assert "CI" not in os.environ, "the report is tested in a real browser: apt-get install chromium"
        pytest.skip("no browser: apt-get install chromium")
    file = folder / "report.html"
    file.write_text(page, encoding="utf-8")
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={folder / 'profile'}",
        "--enable-logging=stderr",
    ]
    done = subprocess.run(
        [BROWSER, *flags, "--virtual-time-budget=3000", "--dump-dom", f"file://{file}"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if ":CONSOLE" in line)


@pytest.mark.slow
def test_it_draws_without_errors_and_answers_to_clicks(tmp_path: Path) -> None:
    document = simulated()
    page, console = browse(render(document).replace("</body>", f"{CLICKS}</body>"), tmp_path)
    assert not console
    assert 'data-ready="yes"' in page
    found = re.search(r'data-result="([^"]*)"', page)
    assert found
    result = json.loads(found[1].replace("&quot;", '"').replace("&amp;", "&"))
    points = document["parts"][0]["points"]
    assert result["dots"] == len(points)
    assert result["csv"] == len(points) + 2
    assert result["headline"] == document["verdict"]["text"]
    assert all(result[name] for name in ("changed", "tip", "sorted", "bars", "batches", "front"))
    assert not result["overflow"], "nothing may be wider than the window"
    assert (result["chosen"], result["budget"], result["pairs"]) == (1, 1, 8)
    assert result["knobs"] >= 3


@pytest.mark.slow
def test_names_cannot_break_out_of_the_page(tmp_path: Path) -> None:
    evil = "</script><img src=x onerror=console.error(1)><!--"
    page, console = browse(render(simulated(evil)), tmp_path)
    assert not console
    assert 'data-ready="yes"' in page
    assert "<img" not in page


@pytest.mark.slow
def test_nothing_found_is_a_page_too(tmp_path: Path) -> None:
    document = simulated()
    empty = {"winner": None, "verdict": None, "diff": "", "pairs": {"before": [], "after": []}}
    document |= empty | {"parts": [document["parts"][0] | {"points": [], "batch_times": []}]}
    page, console = browse(render(document), tmp_path)
    assert not console
    assert "Nothing could be measured" in page


def test_it_needs_no_network() -> None:
    page = render(simulated())
    assert not re.findall(r'(?:src|href)="(?!data:)[^"#]+"', page)
    assert "@@" not in page.replace('startsWith("@@")', "")


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RepositoryError, match="cannot write the report"):
        write(simulated(), tmp_path / "file" / "report.html")
