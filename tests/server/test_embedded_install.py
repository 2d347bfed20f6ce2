"""The real installation of the embedded runtime, into a cache where an earlier one was broken off."""

from __future__ import annotations

from pathlib import Path

import pytest

from repository_builder.serving import embedded

pytestmark = [pytest.mark.server, pytest.mark.slow]


def test_a_broken_installation_is_made_again_with_progress(
    fresh_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    interpreter = embedded.choose()
    folder = fresh_cache / "embedded" / f"{embedded._lock_digest()}-py{interpreter.version}"
    killed_earlier = folder.with_name(f".{folder.name}.new")
    for half_made in (folder, killed_earlier):
        (half_made / "venv").mkdir(parents=True)
        (half_made / "venv" / "pyvenv.cfg").write_text("home = /nowhere\n")
    said: list[tuple[str, float | None]] = []
    runtime = embedded.ensure(lambda message, fraction=None: said.append((message, fraction)))
    assert "is broken and is made again" in capsys.readouterr().err
    assert not killed_earlier.exists()
    fractions = [fraction for _, fraction in said if fraction is not None]
    assert fractions == sorted(fractions)
    assert any("nvidia" in message for message, _ in said)
    assert runtime.folder == folder
    assert embedded.installed() == runtime

    victim = runtime.packages / "numpy" / "__init__.py"
    victim.write_text(victim.read_text()[:100])
    assert embedded.installed() is None, "a truncated file must be noticed"
