"""The chart gristmill-serving: what it renders, and what it refuses, without a cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from llm import __version__
from tests.helm_case import CHARTS, Helm, comments, misread, tidy

CHART = CHARTS / "gristmill-serving"
FEATURES = sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml"))
LONGEST = "a-release-name-of-fifty-three-characters-and-no-more0"
S3 = ("model.uri=s3://models/store/repository/0123456789abcdef", "s3.existingSecret=keys")

Object = dict[str, Any]


@pytest.fixture(scope="module")
def helm() -> Helm:
    return Helm("gristmill-serving")


def sets(*settings: str) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]


def values_of(feature: str) -> list[str | Path]:
    return ["--values", CHART / "ci" / f"{feature}-values.yaml"]


def only(objects: list[Object], kind: str) -> Object:
    """The one object of a kind that is no hook."""
    (found,) = (each for each in objects if each["kind"] == kind and "helm.sh/hook" not in str(each["metadata"]))
    return found


def pods(objects: list[Object]) -> dict[str, Object]:
    """Specs of all pods, by the kind that makes them."""
    specs = {each["kind"]: each["spec"] for each in objects if each["kind"] == "Pod"}
    return specs | {
        each["kind"]: each["spec"]["template"]["spec"] for each in objects if each["kind"] in ("Deployment", "Job")
    }


@pytest.mark.parametrize("feature", FEATURES)
def test_helm_finds_nothing_wrong_with_it(helm: Helm, feature: str) -> None:
    done = helm.run("lint", "--strict", CHART, *values_of(feature))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("feature", FEATURES)
def test_what_it_renders_stays_as_it_is(helm: Helm, golden: Any, feature: str) -> None:
    golden(f"charts/serving-{feature}.yaml", tidy(helm.template(*values_of(feature), release="mill")))


@pytest.mark.parametrize("feature", FEATURES)
def test_every_pod_is_restricted_has_no_token_and_writes_only_where_it_must(helm: Helm, feature: str) -> None:
    specs = pods(helm.documents(*values_of(feature)))
    assert set(specs) == {"Deployment", "Job", "Pod"}
    for spec in specs.values():
        assert spec["automountServiceAccountToken"] is False
        security = spec["securityContext"]
        assert (security["runAsNonRoot"], security["runAsUser"]) == (True, 1000)
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
            }  # fmt: skip
            assert container["resources"]["requests"]
        for volume in spec["volumes"]:
            assert set(volume) == {"name", "emptyDir"}


def test_only_what_fetches_the_model_gets_the_keys_of_the_store(helm: Helm) -> None:
    specs = pods(helm.documents(*sets(*S3)))
    keys = {
        container["name"]: [each["name"] for each in container["env"] if each["name"].startswith("AWS_")]
        for spec in specs.values()
        for container in [*spec.get("initContainers", []), *spec["containers"]]
    }
    assert keys["triton"] == keys["answer"] == []
    for name in ("model", "trial"):
        assert keys[name] == ["AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]


def test_without_a_secret_what_fetches_the_model_has_the_identity_of_annotated_accounts(helm: Helm) -> None:
    objects = helm.documents(*sets(S3[0], "serviceAccount.annotations.example\\.com/role=reader"))
    specs = pods(objects)
    annotations = {
        each["metadata"]["name"]: each["metadata"]["annotations"]
        for each in objects
        if each["kind"] == "ServiceAccount"
    }
    for kind in ("Deployment", "Job"):
        assert annotations[specs[kind]["serviceAccountName"]]["example.com/role"] == "reader"
        assert "secretKeyRef" not in str(specs[kind])
    hook = annotations[specs["Job"]["serviceAccountName"]]
    assert hook["helm.sh/hook"].startswith("pre-install,pre-upgrade")
    assert int(hook["helm.sh/hook-weight"]) < 0, "before the trial itself"
    without = helm.documents(*sets(*S3))
    assert "serviceAccountName" not in pods(without)["Job"]
    known = ("--api-versions", "v1/Secret", "--api-versions", "v1/Pod")
    helm.template(*known, *sets(S3[0], "serviceAccount.annotations.example\\.com/role=reader"))


def test_the_service_and_the_budget_mean_the_serving_pods_and_not_the_trials(helm: Helm) -> None:
    objects = helm.documents(*sets("replicas=2"))
    selector = only(objects, "Service")["spec"]["selector"]
    assert selector == only(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"]
    assert selector == only(objects, "Deployment")["spec"]["selector"]["matchLabels"]
    assert selector.items() <= only(objects, "Deployment")["spec"]["template"]["metadata"]["labels"].items()
    (job,) = (each for each in objects if each["kind"] == "Job")
    (test,) = (each for each in objects if each["kind"] == "Pod")
    for labels in (job["spec"]["template"]["metadata"]["labels"], test["metadata"]["labels"]):
        assert not selector.items() <= labels.items()


def test_the_grace_period_holds_the_longest_drain_and_tritons_exit(helm: Helm) -> None:
    spec = pods(helm.documents(*sets("drain.delaySeconds=7", "drain.generationSeconds=300")))["Deployment"]
    (container,) = spec["containers"]
    assert "--exit-timeout-secs=10" in container["args"]
    assert container["lifecycle"]["preStop"]["exec"]["command"] == [
        "python", "-m", "llm.serving.drain", "--delay=7", "--limit=300", "--idle=5",
    ]  # fmt: skip
    assert spec["terminationGracePeriodSeconds"] > 7 + 300 + 10


def test_another_model_or_image_is_another_pod_and_other_changes_are_not(helm: Helm) -> None:
    def pod_template(*settings: str) -> Object:
        return only(helm.documents(*sets(*S3, *settings)), "Deployment")["spec"]["template"]

    same = pod_template()
    assert pod_template("service.type=NodePort", "replicas=5", "trial.enabled=false") == same
    other = pod_template("model.uri=s3://models/store/repository/fedcba9876543210")
    assert other != same
    assert other["metadata"]["annotations"]["gristmill.io/model"].endswith("fedcba9876543210")
    assert pod_template("image.tag=next") != same


def test_one_replica_has_no_budget_which_would_hold_up_every_drain(helm: Helm) -> None:
    assert not [each for each in helm.documents() if each["kind"] == "PodDisruptionBudget"]


def test_without_the_trial_nothing_of_it_is_left(helm: Helm) -> None:
    assert not [each for each in helm.documents(*sets("trial.enabled=false")) if "trial" in each["metadata"]["name"]]


@pytest.mark.parametrize(
    ("endpoint", "port"),
    [("", 443), ("http://minio", 80), ("https://s3.example.com", 443), ("http://s3.s3-system.svc:7070", 7070)],
)
def test_pods_may_talk_to_the_port_of_the_store(helm: Helm, endpoint: str, port: int) -> None:
    policies = [
        each for each in helm.documents(*sets(*S3, f"s3.endpoint={endpoint}")) if each["kind"] == "NetworkPolicy"
    ]
    assert len(policies) == 2
    for policy in policies:
        assert policy["spec"]["egress"][1:] == [{"ports": [{"protocol": "TCP", "port": port}]}]


def test_without_a_store_pods_may_talk_to_nobody_but_dns(helm: Helm) -> None:
    (rule,) = only(helm.documents(), "NetworkPolicy")["spec"]["egress"]
    assert [port["port"] for port in rule["ports"]] == [53, 53]


@pytest.mark.parametrize(
    ("settings", "source"),
    [
        ((), {"resource": "requests.cpu"}),
        (("resources.limits.cpu=3",), {"resource": "limits.cpu"}),
        (("resources.requests.cpu=null",), None),
        (("threads=6",), "6"),
    ],
)
def test_the_model_gets_as_many_threads_as_the_pod_has_cpus(helm: Helm, settings: tuple[str, ...], source: Any) -> None:
    (container,) = pods(helm.documents(*sets(*settings)))["Deployment"]["containers"]
    found = [each for each in container["env"] if each["name"] == "GRISTMILL_CPUS"]
    if source is None:
        assert not found
    elif isinstance(source, str):
        assert found[0]["value"] == source
    else:
        assert found[0]["valueFrom"]["resourceFieldRef"] == {"containerName": "triton", "divisor": "1", **source}


def test_the_longest_release_name_gives_names_and_labels_that_fit(helm: Helm) -> None:
    assert len(LONGEST) == 53
    objects = helm.documents("--set", "replicas=2", release=LONGEST)
    names = [each["metadata"]["name"] for each in objects]
    assert len({(each["kind"], each["metadata"]["name"]) for each in objects}) == len(objects)
    assert max(len(name) for name in names) <= 63
    assert max(len(value) for each in objects for value in each["metadata"]["labels"].values()) <= 63
    other = helm.documents(release=LONGEST[:-1] + "1")
    assert not set(names) & {each["metadata"]["name"] for each in other}


def test_names_that_look_like_numbers_or_truths_stay_names(helm: Helm) -> None:
    values = (
        'model={"uri": "s3://models/x", "name": "1"}', 's3={"existingSecret": "123"}', "replicas=2",
        'image={"pullSecrets": ["456"]}', 'priorityClassName="7"', 'commonLabels={"team": "8"}',
        'topologySpreadConstraints=[{"maxSkew": 1}]',
    )  # fmt: skip
    objects = helm.documents(*[part for value in values for part in ("--set-json", value)], release="true")
    assert misread(objects) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("replica=2",), "additional properties 'replica' not allowed"),
        (("model.url=s3://x/y",), "at '/model': additional properties 'url' not allowed"),
        (("replicas=two",), "at '/replicas': got string, want integer"),
        (("replicas=0",), "at '/replicas': minimum: got 0, want 1"),
        (("resources.limits.memory=lots",), "at '/resources/limits/memory': 'lots' does not match pattern"),
        (("model.volumeSize=2 Gi",), "at '/model/volumeSize'"),
        (("model.uri=https://models/x",), "at '/model/uri'"),
        (("model.uri=s3://bucket",), "at '/model/uri'"),
        (("service.type=Ingress",), "at '/service/type': value must be one of 'ClusterIP', 'NodePort', 'LoadBalancer'"),
        (("image.digest=latest",), "at '/image/digest'"),
        (("commonLabels.app\\.kubernetes\\.io/name=x",), "at '/commonLabels/app.kubernetes.io~1name': false schema"),
        (("commonLabels.gristmill\\.io/model=x",), "at '/commonLabels/gristmill.io~1model': false schema"),
        (("commonLabels.team=a b",), "at '/commonLabels/team': 'a b' does not match pattern"),
        (("podDisruptionBudget.maxUnavailable=0",), "at '/podDisruptionBudget/maxUnavailable': minimum: got 0, want 1"),
        (
            ("image.tag=next", f"image.digest=sha256:{'0' * 64}"),
            f"error: image.tag=next and image.digest=sha256:{'0' * 64} both say which image",
        ),
        (
            (S3[0],),
            "error: model.uri=s3://models/store/repository/0123456789abcdef is in S3, and s3.existingSecret is empty",
        ),
        (
            ("replicas=2", "podDisruptionBudget.maxUnavailable=2"),
            "error: podDisruptionBudget.maxUnavailable=2 lets all of replicas=2 go at once\n  Allowed: 1 to 1.",
        ),
        (
            ("resources.requests.memory=3Gi",),
            "error: resources asks for more memory than it may use: requests.memory=3Gi, limits.memory=2Gi",
        ),
        (
            ("trial.resources.requests.cpu=2", "trial.resources.limits.cpu=1500m"),
            "error: trial.resources asks for more cpu than it may use: requests.cpu=2, limits.cpu=1500m",
        ),
        (("sharedMemory=3Gi",), "error: sharedMemory=3Gi counts as memory, and resources.limits.memory is 2Gi"),
        (("extraEnv[0].name=GRISTMILL_CPUS",), "error: extraEnv sets GRISTMILL_CPUS, which the chart sets itself"),
    ],
    ids=lambda value: value[-1] if isinstance(value, tuple) else "",
)
def test_values_that_cannot_work_are_refused_in_words(helm: Helm, settings: tuple[str, ...], words: str) -> None:
    assert words in helm.refusal(*sets(*settings))


@pytest.mark.parametrize("release", ["7mill", "mill.v2"])
def test_a_release_name_that_cannot_name_a_service_is_refused(helm: Helm, release: str) -> None:
    done = helm.run("template", release, CHART)
    assert f"error: the release's name {release} cannot be the name of a Service" in done.stderr
    assert helm.documents("--set", "fullnameOverride=mill", release=release)


@pytest.mark.parametrize(
    ("settings", "warned"),
    [
        ("service.type=NodePort", True),
        ("service.type=LoadBalancer", True),
        ("service.type=ClusterIP", False),
        ("service.type=NodePort,networkPolicy.enabled=false", False),
        ("service.type=NodePort,networkPolicy.from[0].ipBlock.cidr=192.0.2.0/24", False),
    ],
)
def test_the_notes_say_when_the_policy_keeps_out_whom_the_service_lets_in(
    helm: Helm, settings: str, warned: bool
) -> None:
    done = helm.run("install", "mill", CHART, "--namespace", "ml", "--dry-run=client", "--set", settings)
    assert done.returncode == 0, done.stderr
    assert ("--set-json 'networkPolicy.from=" in done.stdout.partition("NOTES:")[2]) is warned


def test_the_chart_names_the_image_of_this_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == chart["version"] == __version__


@pytest.mark.parametrize(
    "key", ["drain.generationSeconds", "model.name", "model.volumeSize", "networkPolicy.enabled", "s3"]
)
def test_a_key_that_is_removed_is_missed(helm: Helm, key: str) -> None:
    section, _, last = f".{key}".rpartition(".")
    assert f"at '{section.replace('.', '/')}': missing property '{last}'" in helm.refusal(*sets(f"{key}=null"))


def test_values_and_schema_say_the_same_of_every_key() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    schema["properties"].pop("global")  # Helm's own
    described: dict[str, str] = {}
    _compare(values, schema, (), described)
    said = comments((CHART / "values.yaml").read_text())
    sections = {key for key, value in values.items() if isinstance(value, dict) and value and key != "resources"}
    assert described == {**said, **{key: described[key] for key in sections}}


def _compare(values: Object, schema: Object, path: tuple[str, ...], described: dict[str, str]) -> None:
    assert schema["additionalProperties"] is False, path
    assert set(values) == set(schema["properties"]), path
    assert set(values) - {"threads"} == set(schema["required"]), path
    for key, value in values.items():
        inner = schema["properties"][key]
        described[".".join((*path, key))] = inner["description"]
        if isinstance(value, dict) and value and key != "resources":
            _compare(value, inner, (*path, key), described)


def test_the_table_of_values_in_the_readme_is_fresh(request: pytest.FixtureRequest) -> None:
    begin, end = "<!-- values -->\n", "<!-- /values -->"
    before, _, rest = (CHART / "README.md").read_text().partition(begin)
    fresh = before + begin + "\n".join(_rows()) + "\n" + end + rest.partition(end)[2]
    if request.config.getoption("--update-goldens"):
        (CHART / "README.md").write_text(fresh)
    assert (CHART / "README.md").read_text() == fresh, "the table of values is stale: make golden"


def _rows() -> Iterator[str]:
    text = (CHART / "values.yaml").read_text()
    yield "| key | value | meaning |"
    yield "| --- | --- | --- |"
    for key, said in comments(text).items():
        value = yaml.safe_load(text)
        for part in key.split("."):
            value = value[part]
        yield f"| `{key}` | `{json.dumps(value)}` | {said} |"
