"""The manifests and the Helm values: Kubernetes' own schemas, and the names that files and code share."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import kubernetes_validate
import pytest

from habla_ml.service.server import find_exposure_warnings
from habla_ml_tests.testing.deploy_files import (
    CODE_SERVER_PORT,
    DEPLOY,
    ROOT,
    SERVICE_PORT,
    WEB_SERVER_PORT,
    check_command,
    load_process_settings,
    read_document,
    read_documents,
    read_variables,
)

KUBERNETES = "1.36"
FOLDER = DEPLOY / "kubernetes"
SECRETS = ("pipeline", "service")
MANIFESTS = [each for path in sorted(FOLDER.glob("*.yaml")) for each in read_documents(path)]
VALUES = read_document(DEPLOY / "helm" / "values.yaml")
[CODE_SERVER] = VALUES["dagster-user-deployments"]["deployments"]
CREATED_BY_COMMAND = {"habla-ml-profile", "habla-ml", "habla-ml-service", "dagster-postgresql", "ray-token"}
"""ConfigMaps and Secrets that `settings.yaml` says how to create."""


def find_manifest(kind: str, name: str | None = None) -> dict[str, Any]:
    [found] = [each for each in MANIFESTS if each["kind"] == kind and name in (None, each["metadata"]["name"])]
    return dict(found)


RAY = find_manifest("RayCluster")["spec"]
RAY_GROUPS = [RAY["headGroupSpec"], *RAY["workerGroupSpecs"]]


def build_chart_pod(section: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the pod that the chart makes of a section, as far as the values give it."""
    sources = [{"configMapRef": each} for each in section.get("envConfigMaps", [])]
    sources += [{"secretRef": each} for each in section.get("envSecrets", [])]
    probes = ("readinessProbe", "livenessProbe", "startupProbe")
    given = {key: section[key] for key in ("securityContext", "resources", "volumeMounts") if key in section}
    for key in probes:
        probe = {each: value for each, value in section.get(key, {}).items() if each != "enabled"}
        if probe:
            default = {} if "httpGet" in probe or "exec" in probe else {"exec": {"command": ["true"]}}
            given[key] = default | probe
    image = f"{section['image']['repository']}:{section['image']['tag']}"
    container = {"name": name, "image": image, "envFrom": sources, **given}
    return {
        "securityContext": section["podSecurityContext"],
        "containers": [container],
        "volumes": section.get("volumes", []),
    }


def build_run_pod() -> dict[str, Any]:
    """Return the pod of a run: that of the code server, with the launcher's own configuration."""
    config = VALUES["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]
    pod = build_chart_pod(CODE_SERVER, "run")
    pod["containers"] = [pod["containers"][0] | config["containerConfig"]]
    return pod | config["podSpecConfig"]


PODS = {
    "service": find_manifest("Deployment")["spec"]["template"]["spec"],
    "webserver": build_chart_pod(VALUES["dagsterWebserver"], "webserver"),
    "daemon": build_chart_pod(VALUES["dagsterDaemon"], "daemon"),
    "code server": build_chart_pod(CODE_SERVER, "code"),
    "run": build_run_pod(),
    "ray head": RAY_GROUPS[0]["template"]["spec"],
    "ray worker": RAY_GROUPS[1]["template"]["spec"],
}
BY_POD = pytest.mark.parametrize("name", PODS)


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda each: f"{each['kind']} {each['metadata']['name']}")
def test_manifests_follow_the_schema_of_kubernetes(manifest: dict[str, Any]) -> None:
    if manifest["kind"] != "RayCluster":  # its schema is KubeRay's; its pods are tested below
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


@BY_POD
def test_pods_follow_the_schema_of_kubernetes(name: str) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": PODS[name]}
    kubernetes_validate.validate(pod, KUBERNETES, strict=True)


@BY_POD
def test_a_pod_is_not_root_and_has_bounds(name: str) -> None:
    assert PODS[name]["securityContext"]["runAsNonRoot"]
    [user] = re.findall(r"ARG USER_ID=(\d+)", (DEPLOY / "Dockerfile").read_text("utf-8"))
    assert PODS[name]["securityContext"]["runAsUser"] == int(user)
    [container] = PODS[name]["containers"]
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert "memory" in container["resources"]["limits"]
    assert {"cpu", "memory"} <= set(container["resources"]["requests"])
    # KubeRay adds the probes of Ray; a run has the heartbeat of its Job.
    assert "livenessProbe" in container or name in {"run", "ray head", "ray worker"}


def list_names(pod: Mapping[str, Any]) -> Iterator[str]:
    """Yield the ConfigMaps, Secrets and claims that a pod needs."""
    for container in pod["containers"]:
        for source in container.get("envFrom", []):
            yield from (each["name"] for each in source.values())
    for volume in pod.get("volumes", []):
        if "configMap" in volume:
            yield volume["configMap"]["name"]
        if "persistentVolumeClaim" in volume:
            yield volume["persistentVolumeClaim"]["claimName"]


def list_secrets(pod: Mapping[str, Any]) -> Iterator[str]:
    """Yield the Secrets whose keys are variables of a pod."""
    for container in pod["containers"]:
        yield from (each["secretRef"]["name"] for each in container.get("envFrom", []) if "secretRef" in each)


@BY_POD
def test_what_a_pod_needs_exists(name: str) -> None:
    known = {each["metadata"]["name"] for each in MANIFESTS} | CREATED_BY_COMMAND
    assert set(list_names(PODS[name])) <= known
    mounted = {each["name"] for each in PODS[name]["containers"][0].get("volumeMounts", [])}
    assert mounted == {each["name"] for each in PODS[name].get("volumes", [])}
    # A whole ConfigMap as a folder has links, and paths in the profile would start at their target.
    profile = [each for each in PODS[name]["containers"][0].get("volumeMounts", []) if each["name"] == "profile"]
    assert all(each["mountPath"].endswith(f"/configs/{each['subPath']}") for each in profile)


def test_the_page_of_settings_says_how_to_create_the_rest() -> None:
    comments = (FOLDER / "settings.yaml").read_text("utf-8")
    created = set(re.findall(r"kubectl create (?:configmap|secret generic) (\S+)", comments))
    assert created == CREATED_BY_COMMAND
    assert VALUES["global"]["postgresqlSecretName"] in created
    assert RAY["authOptions"]["secretName"] in created


def test_no_service_of_the_cluster_becomes_a_setting() -> None:
    """Kubernetes gives each pod variables with the names of the Services beside it, such as HABLA_ML_PORT."""
    names = [each["metadata"]["name"] for each in MANIFESTS if each["kind"] in {"Service", "RayCluster"}]
    assert not [each for each in [*names, CODE_SERVER["name"]] if each.upper().startswith(("HABLA", "DAGSTER"))]


def test_ports_agree() -> None:
    webserver = VALUES["dagsterWebserver"]
    probes = [webserver[each]["httpGet"] for each in ("readinessProbe", "livenessProbe", "startupProbe")]
    assert probes == [{"path": "/server_info", "port": WEB_SERVER_PORT}] * 3
    assert webserver["service"]["port"] == WEB_SERVER_PORT
    assert CODE_SERVER["port"] == CODE_SERVER_PORT
    [container] = PODS["service"]["containers"]
    assert container["ports"] == [{"name": "http", "containerPort": SERVICE_PORT}]
    assert find_manifest("Service")["spec"]["ports"] == [{"name": "http", "port": 80, "targetPort": "http"}]


def test_commands_exist_and_take_their_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    check_command(PODS["service"]["containers"][0]["args"])
    # As the chart completes it.
    check_command(["dagster", "code-server", "start", "-h", "0.0.0.0", "-p", "4000", *CODE_SERVER["codeServerArgs"]])  # noqa: S104
    check_command(VALUES["dagsterDaemon"]["livenessProbe"]["exec"]["command"])


def test_the_variables_of_the_pods_are_settings() -> None:
    pipeline, service = (dict.fromkeys(read_variables(FOLDER / f"{each}.env.example"), "x") for each in SECRETS)
    shared = find_manifest("ConfigMap")["data"]
    assert not {*pipeline, *service} & set(shared)
    own = {each["name"]: each["value"] for each in PODS["service"]["containers"][0]["env"]}
    settings = load_process_settings({**shared, **service, **own})
    assert (settings.service.host, settings.service.port) == ("0.0.0.0", SERVICE_PORT)  # noqa: S104
    assert find_exposure_warnings(settings.service) == []
    launch = load_process_settings({**shared, **pipeline}).training.launch
    assert launch.where == "ray"
    assert launch.ray.address == f"http://{find_manifest('RayCluster')['metadata']['name']}-head-svc:8265"
    mounts = {each["mountPath"] for each in CODE_SERVER["volumeMounts"]}
    assert {str(settings.work_folder.parent), str(settings.recordings.folder)} <= mounts


def test_a_pod_has_its_own_secrets_only() -> None:
    found = {name: set(list_secrets(pod)) for name, pod in PODS.items()}
    assert found.pop("service") == {"habla-ml-service"}
    # Runs are pods with the configuration of the code server, so web server and daemon know Dagster's database only.
    assert found.pop("webserver") == found.pop("daemon") == set()
    assert all(each == {"habla-ml"} for each in found.values())


def test_images_and_versions_agree_with_the_pins() -> None:
    constraints = (ROOT / "constraints.txt").read_text("utf-8")
    assert f"\nray=={RAY['rayVersion']}\n" in constraints
    [chart] = re.findall(r"--version (\S+)", (DEPLOY / "helm" / "values.yaml").read_text("utf-8"))
    assert f"\ndagster=={chart}\n" in constraints
    images = {PODS[name]["containers"][0]["image"] for name in PODS}
    assert {each.rpartition("-")[0] for each in images} == {"registry.example.org/habla_ml:1.0.0"}


def test_no_secret_is_in_a_file() -> None:
    assigned = re.compile(r"\b[A-Z_]*(?:PASSWORD|SECRET|TOKEN|ACCESS_KEY)[A-Z_]*[:=][ \t]*(?!\$\{|\?|…)[^\s]")
    texts = {path.name: path.read_text("utf-8") for path in DEPLOY.rglob("*") if path.is_file()}
    assert {name: found for name, text in texts.items() if (found := assigned.findall(text))} == {}
