"""Repositories that are damaged, hostile or odd: a finding or a plain error, never a traceback, never for long."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from repository_builder.check import check
from repository_builder.cli import main
from tests.unit.check.repositories import bad, good


def found(root: Path, **options: str) -> list[tuple[str, str, int]]:
    """(rule, path below the root, line) of every finding."""
    report = check(root, **options)
    assert not report.problems
    return [(f.id, str(f.found.path.relative_to(root)), f.found.line) for f in report.findings]


def config(root: Path, text: str | bytes) -> Path:
    """The good repository with another m/config.pbtxt."""
    good(root)
    (root / "m" / "config.pbtxt").write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


def test_text_that_does_not_parse(tmp_path: Path) -> None:
    findings = check(config(tmp_path, 'backend: "python"\nmax_batchsize: 4\ninput [ { dims [ 3, ] }\n')).findings
    assert [(f.id, f.found.line) for f in findings] == [("CFG002", 2), ("CFG001", 3), ("CFG001", 3), ("CFG001", 4)]
    assert "did you mean `max_batch_size`" in findings[0].found.message


def test_a_field_of_a_newer_triton(tmp_path: Path) -> None:
    text = (good(tmp_path / "r") / "m" / "config.pbtxt").read_text() + 'teleport { to: "mars" }\n'
    (warning,) = check(config(tmp_path / "r", text)).findings
    assert (warning.id, warning.severity, warning.found.field) == ("CFG003", "warning", "teleport")
    assert "2.7" in warning.found.message
    (error,) = check(config(tmp_path / "r", text), image="26.07").findings
    assert (error.id, error.severity) == ("CFG002", "error")


@pytest.mark.slow
def test_ten_megabytes_of_configuration(tmp_path: Path) -> None:
    line = 'parameters { key: "%d" value { string_value: "some value that is not short" } }\n'
    head = (good(tmp_path) / "m" / "config.pbtxt").read_text()
    config(tmp_path, head + "".join(line % number for number in range(10_000_000 // len(line))))
    start = time.process_time()
    assert found(tmp_path) == []
    assert time.process_time() - start < 60


def test_deep_nesting(tmp_path: Path) -> None:
    rules = {rule for rule, *_ in found(config(tmp_path, "x " + "{ y " * 100_000))}
    assert rules >= {"CFG001", "CFG003"}


def test_invalid_utf8(tmp_path: Path) -> None:
    text = (good(tmp_path) / "m" / "config.pbtxt").read_bytes()
    assert found(config(tmp_path, b"# caf\xe9\n" + text)) == []
    assert ("CFG001", "m/config.pbtxt", 1) in found(config(tmp_path, b'name: "caf\xe9"\n' + text))


def test_links_that_lead_in_circles(tmp_path: Path) -> None:
    good(tmp_path)
    (tmp_path / "m" / "config.pbtxt").unlink()
    (tmp_path / "m" / "config.pbtxt").symlink_to("config.pbtxt")
    (tmp_path / "m" / "1" / "up").symlink_to("..")
    (tmp_path / "around").symlink_to("around")
    assert ("REPO003", "m/config.pbtxt", 1) in found(tmp_path)


def test_special_files(tmp_path: Path) -> None:
    good(tmp_path)
    (tmp_path / "m" / "1" / "model.py").unlink()
    os.mkfifo(tmp_path / "m" / "1" / "model.py")
    os.mkfifo(tmp_path / "m" / "notes.txt")
    assert ("FILE002", "m/1", 1) in found(tmp_path)


def test_a_folder_called_config(tmp_path: Path) -> None:
    good(tmp_path)
    (tmp_path / "m" / "config.pbtxt").unlink()
    (tmp_path / "m" / "config.pbtxt").mkdir()
    assert ("REPO003", "m/config.pbtxt", 1) in found(tmp_path)


def test_no_models(tmp_path: Path) -> None:
    assert found(tmp_path) == [("REPO002", ".", 1)]


def test_a_file_instead_of_a_repository(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    report = check(tmp_path / "x")
    assert report.exit_code == 2
    assert "it is not a folder" in report.problems[0].why


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users may enter (those of pytest are closed)."""
    folder = Path(tempfile.mkdtemp(prefix="check-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def as_other_user(*arguments: str) -> tuple[int, str]:
    """Exit code and output of the command, run by a user who may read and not write (root could do all).

    Everything that it imports is loaded before the user changes, who need not be able to read this project.
    """
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as output:
        bad(Path(folder))
        assert main(["check", folder, "--fix"]) == 0
        child = os.fork()
        if child == 0:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            if os.getuid() == 0:
                os.setgid(65534)
                os.setuid(65534)
            code = -1
            try:
                code = main(["check", *arguments])
            except OSError:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code & 0xFF)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        output.seek(0)
        return code, output.read()


def test_an_unreadable_file(open_folder: Path) -> None:
    (good(open_folder) / "m" / "config.pbtxt").chmod(0)
    code, text = as_other_user(str(open_folder))
    assert code == 1, text
    assert "REPO003" in text
    assert "Permission denied" in text


def test_an_unreadable_repository(open_folder: Path) -> None:
    good(open_folder).chmod(0)
    code, text = as_other_user(str(open_folder))
    open_folder.chmod(0o755)
    assert code == 2, text
    assert "Permission denied" in text


def test_an_unreadable_model(open_folder: Path) -> None:
    (good(open_folder) / "m" / "1").chmod(0)
    code, text = as_other_user(str(open_folder))
    assert code in (0, 1), text
    (open_folder / "m").chmod(0)
    code, text = as_other_user(str(open_folder))
    (open_folder / "m").chmod(0o755)
    (open_folder / "m" / "1").chmod(0o755)
    assert code == 1, text
    assert "the folder `m` cannot be read" in text


def test_a_repository_that_cannot_be_written(open_folder: Path) -> None:
    bad(open_folder)
    for path in (*open_folder.rglob("*"), open_folder):
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert as_other_user(str(open_folder))[0] == 1
    code, text = as_other_user(str(open_folder), "--fix")
    for path in (open_folder, *open_folder.rglob("*")):
        path.chmod(0o755)
    assert code == 2, text
    assert "cannot apply the fixes" in text


def varint(number: int) -> bytes:
    data = b""
    while number > 0x7F:
        data, number = data + bytes([number & 0x7F | 0x80]), number >> 7
    return data + bytes([number])


def block(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


def test_a_huge_graph_is_not_read(tmp_path: Path) -> None:
    """1.9 GiB of weights inside the file, as a hole: only the outline is looked at."""
    size = 1_900_000_000
    value = block(11, block(1, b"x") + block(2, block(1, b"\x08\x01" + block(2, block(1, block(2, b"N"))))))
    output = value.replace(varint(11 << 3 | 2), varint(12 << 3 | 2), 1).replace(b"x", b"y", 1)
    node = block(1, block(1, b"x") + block(2, b"y") + block(4, b"Relu"))
    tensor = b"\x10\x01" + block(8, b"w") + varint(9 << 3 | 2) + varint(size)
    weights = varint(5 << 3 | 2) + varint(len(tensor) + size) + tensor
    graph = node + value + output + weights
    head = b"\x08\x08" + block(8, b"\x10\x11") + varint(7 << 3 | 2) + varint(len(graph) + size) + graph
    path = tmp_path / "net" / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    with path.open("wb") as stream:
        stream.write(head)
        stream.truncate(len(head) + size)
    tensors = '[ { name: "%s" data_type: TYPE_FP32 dims: [ 1 ] reshape: { } } ]\n'
    text = 'platform: "onnxruntime_onnx"\nmax_batch_size: 4\ninput ' + tensors % "x" + "output " + tensors % "y"
    (tmp_path / "net" / "config.pbtxt").write_text(text)
    start = time.process_time()
    assert found(tmp_path) == []
    assert time.process_time() - start < 2
    (tmp_path / "net" / "config.pbtxt").write_text(text.replace('"y"', '"z"'))
    assert [rule for rule, *_ in found(tmp_path)] == ["ONX010"]
