"""`triton-repo check` and `triton-repo explain`: arguments, output, exit codes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from repository_builder.cli import main
from tests.unit.check.repositories import bad, good


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(good(tmp_path / "good"))]) == 0
    assert "good: no findings in 2 models" in capsys.readouterr().out
    assert main(["check", str(bad(tmp_path / "bad"))]) == 1
    assert main(["check", str(tmp_path / "nowhere")]) == 2
    assert "no such folder" in capsys.readouterr().out


def test_a_finding_has_place_reason_fix_and_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["check", str(bad(tmp_path / "bad"))])
    text = capsys.readouterr().out
    assert text.startswith("bad/e/config.pbtxt:7:5: error ENS022 ensemble_scheduling.step[0].model_version: ")
    assert re.search(r"\n    why: Triton refuses .*\n    fix: write model_version: -1 \(--fix does it\)\n", text)
    assert "docs/rules/ENS022.md" in text
    assert "triton-repo explain ENS022" in text


def test_repositories_are_judged_independently(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(good(tmp_path / "good")), str(tmp_path / "nowhere"), str(bad(tmp_path / "bad"))]
    assert main(["check", *paths, "--format", "json"]) == 2
    fine, absent, wrong = json.loads(capsys.readouterr().out)["repositories"]
    assert (fine["errors"], fine["problems"], fine["models"]) == (0, [], 2)
    assert "cannot check" in absent["problems"][0]["what"]
    assert [finding["rule"] for finding in wrong["findings"]] == ["ENS022"]
    assert set(wrong["findings"][0]) >= {"rule", "severity", "path", "line", "field", "message", "why", "fix", "url"}
    assert "ENS" not in str(fine["findings"])


def test_json_is_the_same_by_both_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = []
    for option in (["--json"], ["--format", "json"]):
        main(["check", str(good(tmp_path / "r")), *option])
        outputs.append(re.sub(r'"seconds": [\d.]+', "", capsys.readouterr().out))
    assert outputs[0] == outputs[1]


def test_fix_shows_a_diff_and_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = bad(tmp_path / "r") / "e" / "config.pbtxt"
    before = config.read_text()
    assert main(["check", "r", "--diff"]) == 1
    assert config.read_text() == before
    assert "+      model_version: -1\n" in capsys.readouterr().out
    assert main(["check", "r", "--fix"]) == 0
    shown = capsys.readouterr()
    assert "+      model_version: -1\n" in shown.out
    assert "changed 1 file" in shown.err
    assert config.read_text() == before.replace('"m"\n', '"m"\n      model_version: -1\n')


def test_github_annotations_are_one_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["check", str(bad(tmp_path / "r")), "--format", "github"])
    (line,) = capsys.readouterr().out.splitlines()
    head, message = re.fullmatch(r"::error (\S+ ?\S*)::(.*)", line).groups()
    assert head == "file=r/e/config.pbtxt,line=7,col=5,title=ENS022 step-version-zero"
    assert "%0Afix: write model_version: -1%0A" in message


def test_sarif_names_rules_and_places(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["check", str(bad(tmp_path / "r")), "--format", "sarif"])
    document = json.loads(capsys.readouterr().out)
    (run,) = document["runs"]
    (result,) = run["results"]
    place = result["locations"][0]["physicalLocation"]
    assert document["version"] == "2.1.0"
    assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"] == "ENS022"
    assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == ("r/e/config.pbtxt", 7)
    assert result["level"] == "error"


def test_a_config_stands_for_its_repository(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = bad(tmp_path / "r")
    files = [str(root / model / "config.pbtxt") for model in ("m", "e")]
    assert main(["check", *files, "--json"]) == 1
    (record,) = json.loads(capsys.readouterr().out)["repositories"]
    assert record["models"] == 2
    assert main(["check", str(root / "m"), "--json"]) == 1
    shown = capsys.readouterr()
    assert "r/m is a model" in shown.err
    assert json.loads(shown.out)["repositories"][0]["models"] == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--select", "ENS999"], "no rule or family `ENS999`"),
        (["--ignore", "EN"], "did you mean `ENS`"),
        (["--image", "26.7"], "did you mean `26.07`"),
        (["--gpu", "h20"], "did you mean `h200`"),
        (["--config", "absent.toml"], "cannot read"),
    ],
)
def test_wrong_arguments_cannot_run(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good(tmp_path / "r")
    assert main(["check", "r", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_select_and_ignore(tmp_path: Path) -> None:
    bad(tmp_path / "r")
    assert main(["check", "r", "--select", "VER,FILE"]) == 0
    assert main(["check", "r", "--select", "ens"]) == 1
    assert main(["check", "r", "--ignore", "ENS022"]) == 0


SETTINGS = """[check.models.e.ignore]
ENS022 = "version 0 is put there by hand"
"""


def test_an_ignored_finding_is_shown_with_its_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (bad(tmp_path / "r") / "triton-repo.toml").write_text(SETTINGS)
    assert main(["check", "r"]) == 0
    assert "ignored ENS022" in (text := capsys.readouterr().out)
    assert "reason: version 0 is put there by hand" in text
    assert main(["check", "r", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["repositories"][0]["ignored"][0]["reason"].startswith("version 0")


def test_settings_may_lie_beside_the_repository(tmp_path: Path) -> None:
    bad(tmp_path / "r")
    (tmp_path / "triton-repo.toml").write_text(SETTINGS)
    assert main(["check", "r"]) == 0


def test_an_ignore_that_matches_nothing_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (good(tmp_path / "r") / "triton-repo.toml").write_text('[check.ignore]\nVER002 = "old folders"\n')
    assert main(["check", "r"]) == 0
    assert "ignores VER002, but nothing of the kind was found" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[check.ignore]\nENS022 = ""', "gives no reason"),
        ("[check.models.e]\nignore = 3", "check.models.e"),
        ('[check]\nimgae = "26.07"', "did you mean `image`"),
        ('[check]\nselect = "ENS"', "is not a list"),
        ("check = 1", "not a table"),
        ("[check", "not TOML"),
        ('[check.ignore]\nENS000 = "why"', "no rule or family `ENS000`"),
    ],
)
def test_wrong_settings_cannot_run(text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (good(tmp_path / "r") / "triton-repo.toml").write_text(text)
    assert main(["check", "r"]) == 2
    assert words in capsys.readouterr().err


def test_what_could_not_be_judged_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "r"
    (root / "t" / "1").mkdir(parents=True)
    (root / "t" / "config.pbtxt").write_text('platform: "tensorrt_plan"\n')
    (root / "t" / "1" / "model.plan").write_bytes(b"something")
    assert main(["check", "r", "--show-skipped"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"skipped TRT010, .*engine\.json", text) or re.search(r"skipped .*TRT020.*: .*engine\.json", text)
    assert "could not judge everything" in text


def test_explain_prints_a_page_by_id_and_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "ens022"]) == 0
    page = capsys.readouterr().out
    assert page.startswith("# ENS022 step-version-zero")
    assert "## Why is this bad?" in page
    assert "> whose required version 0 is not loaded" in page
    assert main(["explain", "step-version-zero"]) == 0
    assert capsys.readouterr().out == page
    assert main(["explain", "ENS02"]) == 2
    assert "did you mean" in capsys.readouterr().err


def test_explain_lists_all_rules(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) > 150
