"""The Kubernetes manifest: valid by the API's own schemas, the same server line as everywhere, GPUs only where asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import kubernetes_validate
import pytest
import yaml

from repository_builder.repository.container import Container
from repository_builder.repository.kubernetes import Cluster, cluster, kubernetes
from repository_builder.repository.manifest import FileEntry, PipelineEntry
from repository_builder.repository.server_line import server_arguments

CPU = Container("image:1", "why: a colon, and 'quotes'")
GPU = Container("image:1", "why", "all", ("net/a b.so", "net/c.so"), host_code=True)
KNOWN = Cluster("0123", gpus=2, capabilities=("9.0",))
VARIANTS = [(CPU, KNOWN, ""), (GPU, KNOWN, ""), (GPU, Cluster("0", 1, ("8.6", "9.0")), "triton-repo-local")]


def objects(container: Container, known: Cluster = KNOWN, image: str = "") -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(kubernetes(container, known, image=image)))


def pod(container: Container, known: Cluster = KNOWN, image: str = "") -> dict[str, Any]:
    found: dict[str, Any] = objects(container, known, image)[0]["spec"]["template"]["spec"]
    return found


@pytest.mark.parametrize("version", ["1.28", "1.34", "1.37"])
@pytest.mark.parametrize(("container", "known", "image"), VARIANTS)
def test_every_object_is_valid_by_the_schemas_of_kubernetes(version, container, known, image):
    made = objects(container, known, image)
    assert [one["kind"] for one in made] == ["Deployment", "Service"]
    for one in made:
        kubernetes_validate.validate(one, version, strict=True)


def test_the_validator_would_see_a_misspelt_key():
    made = objects(GPU)[0]
    server = made["spec"]["template"]["spec"]["containers"][0]
    server["startupProb"] = server.pop("startupProbe")
    with pytest.raises(kubernetes_validate.ValidationError, match="startupProb"):
        kubernetes_validate.validate(made, "1.34", strict=True)


def test_server_line_is_that_of_the_other_files():
    server = pod(GPU)["containers"][0]
    assert server["args"][:-1] == server_arguments(GPU)
    assert "command" not in server, "the image's own entry point must run"


def test_gpu_limits_only_where_a_model_uses_one():
    limits = {"limits": {"nvidia.com/gpu": "2"}}
    assert pod(GPU)["containers"][0]["resources"] == limits
    assert pod(GPU)["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert "nvidia.com" not in kubernetes(CPU, KNOWN)


def test_pods_die_only_of_a_dead_server_and_get_traffic_only_when_every_model_is_loaded():
    server = pod(CPU)["containers"][0]
    paths = {name: server[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "readiness", "liveness")}
    assert paths == {"startup": "/v2/health/ready", "readiness": "/v2/health/ready", "liveness": "/v2/health/live"}
    assert {p["name"] for p in server["ports"]} >= {server[f"{name}Probe"]["httpGet"]["port"] for name in paths}


def test_time_to_end_is_longer_than_what_is_done_in_it():
    described = pod(CPU)
    server = described["containers"][0]
    drain = int(server["lifecycle"]["preStop"]["exec"]["command"][1])
    exit_s = int(server["args"][-1].removeprefix("--exit-timeout-secs="))
    assert described["terminationGracePeriodSeconds"] > drain + exit_s


def test_mounts_are_volumes_and_shared_memory_is_memory():
    described = pod(CPU)
    volumes = {volume["name"]: volume for volume in described["volumes"]}
    mounts = {mount["mountPath"]: mount["name"] for mount in described["containers"][0]["volumeMounts"]}
    assert set(mounts.values()) == set(volumes)
    assert volumes[mounts["/dev/shm"]]["emptyDir"] == {"medium": "Memory", "sizeLimit": "1024Mi"}
    assert volumes[mounts["/models"]]["persistentVolumeClaim"]["readOnly"]


def test_service_finds_the_pods():
    deployment, service = objects(CPU)
    assert service["spec"]["selector"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    named = {port["name"] for port in deployment["spec"]["template"]["spec"]["containers"][0]["ports"]}
    assert {port["targetPort"] for port in service["spec"]["ports"]} == named


def test_an_image_of_ones_own_is_named_and_says_that_it_must_be_pushed():
    text = kubernetes(CPU, KNOWN, image="triton-repo-local")
    assert pod(CPU, image="triton-repo-local")["containers"][0]["image"] == "triton-repo-local"
    assert "push" in text
    assert "push" not in kubernetes(CPU, KNOWN)


def entry(gpus: list[int], engine: dict[str, Any]) -> PipelineEntry:
    empty: dict[str, Any] = {}
    spec = {"instances": {"gpus": gpus}}
    return PipelineEntry("", "", "", spec, "", {}, {}, empty, empty, "", {}, {"engine": engine} if engine else {})


def test_what_a_cluster_must_know_is_read_off_the_manifest():
    files = {"net/config.pbtxt": FileEntry("ab", 1), "run.sh": FileEntry("cd", 1)}
    engines = [{"compute_capabilities": ["8.6", "9.0"]}, {"compute_capabilities": ["9.0"]}, {}]
    known = cluster([entry([0, 3], engines[0]), entry([], engines[1]), entry([], engines[2])], files)
    assert (known.gpus, known.capabilities) == (4, ("9.0",))
    wide = {"compute_capabilities": ["9.0"], "hardware_compatibility": "AMPERE_PLUS"}
    assert cluster([entry([], wide)], files) == replace(known, gpus=1, capabilities=())


def test_other_models_are_other_pods_and_other_start_files_are_not():
    def digest(**shas: str) -> str:
        return cluster([], {name.replace("__", "/"): FileEntry(sha, 1) for name, sha in shas.items()}).digest

    assert digest(a__model="1", run="2") == digest(a__model="1", run="3")
    assert digest(a__model="1") != digest(a__model="2")
