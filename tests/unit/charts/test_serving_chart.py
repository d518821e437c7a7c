"""The chart gristmill-serving: what it renders, and what it refuses, without a cluster."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from llm import __version__
from tests.cases.helm import A_CLUSTER, CHARTS, Helm, misread, tidy

CHART = CHARTS / "gristmill-serving"
FEATURES = sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml"))
LONGEST = "a-release-name-of-fifty-three-characters-and-no-more0"
KEDA = "keda.sh/v1alpha1/ScaledObject"
SCALED = "autoscaling.enabled=true"
S3 = ("model.uri=s3://models/store/repository/0123456789abcdef", "s3.existingSecret=keys")
HELM_WAITS_SECONDS = 300
"""Without --timeout."""
ONE_VALUE = "extraEnv[0].name=A", "extraEnv[0].value=b"
PEER = "networkPolicy.from[0]"
RULE = "networkPolicy.extraEgress[0]"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"

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


@pytest.mark.parametrize(("name", "features"), [("default", []), ("full", ["full", "autoscaling"])])
def test_what_it_renders_stays_as_it_is(helm: Helm, golden: Any, name: str, features: list[str]) -> None:
    values = [part for feature in features for part in values_of(feature)]
    golden(f"charts/serving-{name}.yaml", tidy(helm.template(*values, release="mill")))


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
    assert only(objects, "Deployment")["spec"]["replicas"] == 2
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
        "python", "-m", "llm.serving.pod.drain", "--delay=7", "--limit=300",
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


def test_the_budget_of_scaled_pods_looks_at_the_fewest(helm: Helm) -> None:
    def budgets(*settings: str) -> list[Object]:
        return [each for each in helm.documents(*sets(SCALED, *settings)) if each["kind"] == "PodDisruptionBudget"]

    assert len(budgets("autoscaling.minReplicas=2")) == 1
    assert budgets("replicas=3") == []


def test_a_cluster_without_keda_is_refused_with_the_way_to_install_it(helm: Helm) -> None:
    def known(*versions: str) -> list[str]:
        return [part for version in (*A_CLUSTER, *versions) for part in ("--api-versions", version)]

    said = helm.refusal(*known(), *sets(SCALED))
    assert "error: autoscaling.enabled=true needs KEDA, and the cluster has no CRD scaledobjects.keda.sh" in said
    assert "2.20 or later" in said
    assert "helm install keda keda --repo https://kedacore.github.io/charts" in said
    assert helm.template(*known(KEDA), *sets(SCALED))
    assert helm.template(*known())


@pytest.mark.parametrize(
    ("settings", "words"),
    [(("replicas=3",), "on 3 pod(s)."), ((SCALED, "replicas=3", "autoscaling.minReplicas=2"), "on 2 to 4 pods.")],
)
def test_the_notes_say_on_how_many_pods(helm: Helm, settings: tuple[str, ...], words: str) -> None:
    done = helm.run("install", "mill", CHART, "--namespace", "ml", "--dry-run=client", *sets(*S3, *settings))
    assert done.returncode == 0, done.stderr
    assert words in done.stdout.partition("NOTES:")[2]


def test_without_the_trial_nothing_of_it_is_left(helm: Helm) -> None:
    assert not [each for each in helm.documents(*sets("trial.enabled=false")) if "trial" in each["metadata"]["name"]]


@pytest.mark.parametrize("seconds", [10, 180, 900])
def test_a_trial_that_started_late_still_says_why_it_failed_before_its_job_is_stopped(helm: Helm, seconds: int) -> None:
    job = trial(helm, f"trial.timeoutSeconds={seconds}")
    assert f"--seconds={seconds}" in job["template"]["spec"]["containers"][0]["command"]
    assert job["activeDeadlineSeconds"] - seconds >= max(20, seconds / 2)


def test_by_default_a_trial_that_never_starts_has_failed_before_helm_gives_up(helm: Helm) -> None:
    job = trial(helm)
    assert job["activeDeadlineSeconds"] + job["template"]["spec"]["terminationGracePeriodSeconds"] < HELM_WAITS_SECONDS


def trial(helm: Helm, *settings: str) -> Object:
    """Spec of the trial's Job."""
    (job,) = (each["spec"] for each in helm.documents(*sets(*settings)) if each["kind"] == "Job")
    return job


def test_a_spread_with_a_selector_of_its_own_keeps_it_and_one_without_means_the_replicas(helm: Helm) -> None:
    rule = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
    own = {**rule, "labelSelector": {"matchLabels": {"team": "research"}}}
    objects = helm.documents("--set-json", f"topologySpreadConstraints={json.dumps([rule, own])}")
    selector = only(objects, "Deployment")["spec"]["selector"]
    assert pods(objects)["Deployment"]["topologySpreadConstraints"] == [
        {**rule, "labelSelector": selector, "matchLabelKeys": ["pod-template-hash"]}, own,
    ]  # fmt: skip


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
    assert [port["port"] for port in rule["ports"]] == [53, 53, 5353, 5353]


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
        'topologySpreadConstraints=[{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}]',
        'autoscaling={"enabled": true, "minReplicas": 2, "kedaNamespace": "9"}',
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
            (SCALED, "replicas=9", "autoscaling.minReplicas=2", "podDisruptionBudget.maxUnavailable=3"),
            "error: podDisruptionBudget.maxUnavailable=3 lets all of autoscaling.minReplicas=2 go at once",
        ),
        (
            (SCALED, "autoscaling.minReplicas=5"),
            "error: autoscaling.minReplicas=5 is more than autoscaling.maxReplicas=4",
        ),
        (("autoscaling.minReplicas=0",), "at '/autoscaling/minReplicas': minimum: got 0, want 1"),
        (("autoscaling.scaleDownSeconds=3601",), "at '/autoscaling/scaleDownSeconds': maximum"),
        (("autoscaling.kedaNamespace=a.b",), "at '/autoscaling/kedaNamespace'"),
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
        (("extraEnv[0].name=ORT_DISABLE_TELEMETRY",), "error: extraEnv sets ORT_DISABLE_TELEMETRY, which the chart"),
    ],
    ids=lambda value: value[-1] if isinstance(value, tuple) else "",
)
def test_values_that_cannot_work_are_refused_in_words(helm: Helm, settings: tuple[str, ...], words: str) -> None:
    assert words in helm.refusal(*sets(*settings))


@pytest.mark.parametrize(
    ("setting", "path"),
    [
        ("tolerations[0].operater=Exists", "/tolerations/0"),
        ("affinity.nodeAfinity={}", "/affinity"),
        (f"affinity.nodeAffinity.{REQUIRED}s={{}}", "/affinity/nodeAffinity"),
        (f"affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerm=x", f"/affinity/nodeAffinity/{REQUIRED}"),
        (
            f"affinity.nodeAffinity.{PREFERRED}[0].preference.matchExpression[0]=x",
            f"/affinity/nodeAffinity/{PREFERRED}/0/preference",
        ),
        (f"affinity.podAffinity.{REQUIRED}[0].namespace=x", f"/affinity/podAffinity/{REQUIRED}/0"),
        (
            f"affinity.podAntiAffinity.{PREFERRED}[0].podAffinityTerm.labelSelector.matchLabel.a=b",
            f"/affinity/podAntiAffinity/{PREFERRED}/0/podAffinityTerm/labelSelector",
        ),
        ("topologySpreadConstraints[0].maxSkw=1", "/topologySpreadConstraints/0"),
        ("topologySpreadConstraints[0].labelSelector.matchLabel.a=b", "/topologySpreadConstraints/0/labelSelector"),
        ("extraEnv[0].valu=1", "/extraEnv/0"),
        ("extraEnv[0].valueFrom.fieldref=x", "/extraEnv/0/valueFrom"),
        ("extraEnv[0].valueFrom.secretKeyRef.nam=x", "/extraEnv/0/valueFrom/secretKeyRef"),
        ("extraEnv[0].valueFrom.resourceFieldRef.division=x", "/extraEnv/0/valueFrom/resourceFieldRef"),
        (f"{PEER}.podSelecter.matchLabels.a=b", "/networkPolicy/from/0"),
        (f"{PEER}.ipBlock.cdr=192.0.2.0/24", "/networkPolicy/from/0/ipBlock"),
        (f"{PEER}.podSelector.matchExpressions[0].keys=a", "/networkPolicy/from/0/podSelector/matchExpressions/0"),
        (f"{RULE}.port[0]=443", "/networkPolicy/extraEgress/0"),
        (f"{RULE}.to[0].cidr=192.0.2.0/24", "/networkPolicy/extraEgress/0/to/0"),
        (f"{RULE}.ports[0].protocl=TCP", "/networkPolicy/extraEgress/0/ports/0"),
    ],
)
def test_a_misspelt_key_of_what_a_pod_or_a_policy_says_is_refused_with_its_place(
    helm: Helm, setting: str, path: str
) -> None:
    words = rf"at '{re.escape(path)}': additional properties '\w+' not allowed"
    assert re.search(words, helm.refusal(*sets(setting)))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("tolerations[0].operator=Has",), "at '/tolerations/0/operator': value must be one of 'Exists', 'Equal'"),
        (("tolerations[0].tolerationSeconds=1m",), "at '/tolerations/0/tolerationSeconds': got string, want integer"),
        (("topologySpreadConstraints[0].maxSkew=1",), "missing properties 'topologyKey', 'whenUnsatisfiable'"),
        (("extraEnv[0].name=A", "extraEnv[0].value=1"), "at '/extraEnv/0/value': got number, want string"),
        ((*ONE_VALUE, "extraEnv[0].valueFrom.fieldRef.fieldPath=x"), "at '/extraEnv/0/valueFrom': false schema"),
        ((f"{PEER}.ipBlock.cidr=192.0.2.0",), "at '/networkPolicy/from/0/ipBlock/cidr'"),
        (
            (f"{PEER}.ipBlock.cidr=192.0.2.0/24", f"{PEER}.podSelector.matchLabels.a=b"),
            "at '/networkPolicy/from/0': maxProperties: got 2, want 1",
        ),
        ((f"{RULE}.ports[0].endPort=5",), "at '/networkPolicy/extraEgress/0/ports/0': properties 'port' required"),
        ((f"{RULE}.ports[0].port=65536",), "at '/networkPolicy/extraEgress/0/ports/0/port': maximum"),
    ],
    ids=lambda value: value[-1] if isinstance(value, tuple) else "",
)
def test_what_the_api_server_would_refuse_in_the_middle_of_a_release_is_refused_before(
    helm: Helm, settings: tuple[str, ...], words: str
) -> None:
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


def schema_of_values() -> Object:
    schema: Object = json.loads((CHART / "values.schema.json").read_text())
    return schema


def test_the_full_example_has_every_key_of_what_a_pod_or_a_policy_says() -> None:
    # The API server is asked about it in tests/cluster: so it takes every key that the schema lets through.
    schema = schema_of_values()
    given = set(_given(schema, schema, yaml.safe_load((CHART / "ci" / "full-values.yaml").read_text())))
    known = {(place, key) for place, node in _nodes(schema) for key in node.get("properties", ())}
    assert {(place, key) for place, key in known - given if place.startswith(("#", ".affinity"))} == set()


def _nodes(node: Object, place: str = "") -> Iterator[tuple[str, Object]]:
    """All schemas in a schema, each with a name: the keys' path, `[]` for the items of a list, `#` for a definition."""
    yield place, node
    for key, inner in node.get("properties", {}).items():
        yield from _nodes(inner, f"{place}.{key}")
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            yield from _nodes(node[key], f"{place}[]")
    for key, inner in node.get("definitions", {}).items():
        yield from _nodes(inner, f"#{key}")


def _given(schema: Object, node: Object, value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Keys that a value has, each with the name of the schema that knows it."""
    if "$ref" in node:
        name = node["$ref"].removeprefix("#/definitions/")
        node, place = schema["definitions"][name], f"#{name}"
    for inner in value if isinstance(value, list) else ():
        yield from _given(schema, node["items"], inner, f"{place}[]")
    for key, inner in value.items() if isinstance(value, dict) else ():
        if key in node.get("properties", {}):
            yield place, key
            yield from _given(schema, node["properties"][key], inner, f"{place}.{key}")
