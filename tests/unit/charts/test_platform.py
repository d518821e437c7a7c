"""The platform chart: what it installs for given values."""

from __future__ import annotations

import functools
import json
import re
from typing import Any

import pytest
import yaml

import llm
from components import environment
from components.pod import STEP_LABEL
from llm import errors
from tests.cases.helm import Helm, misread, one, tidy

GPU, FULL, QUEUES = "ci/gpu-values.yaml", "ci/full-values.yaml", "ci/queues-values.yaml"
OF_THE_CLUSTER = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "Namespace", "PriorityClass"}


@pytest.fixture(scope="module")
def helm() -> Helm:
    return Helm("gristmill-platform")


def variants(helm: Helm) -> dict[str, list[str]]:
    return {"default": [], "gpu": ["--values", str(helm.chart / GPU)], "full": ["--values", str(helm.chart / FULL)]}


@functools.cache
def every(helm: Helm) -> list[dict[str, Any]]:
    return [document for values in variants(helm).values() for document in helm.documents(*values)]


def pod_specs(found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The spec of each pod and of each pool's pods, by name."""
    specs = {item["metadata"]["name"]: item["spec"] for item in found if item["kind"] == "Pod"}
    for item in found:
        if item["kind"] == "TrainingRuntime":
            (job,) = item["spec"]["template"]["spec"]["replicatedJobs"]
            specs[item["metadata"]["name"]] = job["template"]["spec"]["template"]["spec"]
    return specs


def notes(helm: Helm, release: str, *values: str) -> str:
    """What `helm install` says in the end."""
    done = helm.run("install", release, helm.chart, "--namespace", "ml", "--dry-run=client", *values)
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("NOTES:")[2]


def rules(found: list[dict[str, Any]], role: str) -> set[tuple[str, str, str, str]]:
    """What a Role allows, as (group, resource, verb, name); name is "" for any."""
    return {
        (group, resource, verb, name)
        for rule in one(found, "Role", role)["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", [""])
    }


@pytest.mark.parametrize("variant", ["default", "full"])
def test_what_is_rendered_is_as_kept(variant, helm, golden):
    golden(f"charts/platform-{variant}.yaml", tidy(helm.template(*variants(helm)[variant])))


def test_queues_are_rendered_as_kept(helm, golden):
    """The objects that the values of the queues add, and no others."""
    shared = ["--set", "fullnameOverride=gristmill"]
    without = tidy(helm.template(*shared)).split("\n---\n")
    rendered = tidy(helm.template("--values", helm.chart / QUEUES)).split("\n---\n")
    golden("charts/platform-queues.yaml", "\n---\n".join(part for part in rendered if part not in without))


@pytest.mark.parametrize(
    "off", [["rbac.queues=false"], ["rbac.train=false", "rbac.clusterQueues=true", "rbac.nodes=true"]]
)
def test_rights_to_see_queues_are_given_only_to_launchers_and_can_be_turned_off(helm, off):
    found = helm.documents(*[argument for value in off for argument in ("--set", value)])
    assert "kueue.x-k8s.io" not in {group for group, _, _, _ in rules(found, "gristmill-pipeline")}
    assert not OF_THE_CLUSTER & {document["kind"] for document in found}
    given = rules(helm.documents(), "gristmill-pipeline")
    assert {verb for group, _, verb, _ in given if group.endswith("kueue.x-k8s.io")} == {"get", "list"}


def test_a_cluster_queue_has_each_resource_in_each_flavor_as_kueue_wants_it(helm):
    spec = one(helm.documents("--values", helm.chart / QUEUES), "ClusterQueue", "team-a")["spec"]
    (group,) = spec["resourceGroups"]
    assert group["coveredResources"] == ["cpu", "memory", "nvidia.com/gpu"]
    for flavor in group["flavors"]:
        assert [quota["name"] for quota in flavor["resources"]] == group["coveredResources"]
    assert group["flavors"][0]["resources"][2] == {"name": "nvidia.com/gpu", "nominalQuota": "0"}
    (allowed,) = spec["namespaceSelector"]["matchExpressions"]
    assert allowed["values"] == ["team-a"], "the namespaces of its LocalQueues"


@pytest.mark.parametrize("variant", ["default", "gpu", "full", "queues"])
def test_helm_finds_nothing_to_complain_of(variant, helm):
    values = {**variants(helm), "queues": ["--values", str(helm.chart / QUEUES)]}[variant]
    linted = helm.run("lint", "--strict", helm.chart, *values)
    assert linted.returncode == 0, linted.stdout
    assert "WARNING" not in linted.stdout


def test_nothing_is_cluster_wide(helm):
    assert not OF_THE_CLUSTER & {document["kind"] for document in every(helm)}


def test_the_chart_is_of_this_version(helm):
    chart = yaml.safe_load((helm.chart / "Chart.yaml").read_text())
    assert chart["appVersion"] == chart["version"] == llm.__version__


def test_the_longest_release_name_makes_names_of_63_characters_at_most_and_none_twice(helm):
    release = "a" + "b" * 51 + "c"
    found = helm.documents("--values", helm.chart / FULL, "--set", "fullnameOverride=", release=release)
    names = [(item["kind"], item["metadata"]["name"]) for item in found]
    assert len(set(names)) == len(names)
    assert all(len(name) <= 63 for kind, name in names if kind != "NetworkPolicy")
    assert len(one(found, "ServiceAccount", f"{release}-pipeline")["metadata"]["name"]) == 62
    other = helm.documents("--values", helm.chart / FULL, "--set", "fullnameOverride=", release=release[:-1] + "d")
    shared = {*names} & {(item["kind"], item["metadata"]["name"]) for item in other}
    assert shared == {("TrainingRuntime", "everything")}, "the name of a pool is the same in each release"


@pytest.mark.parametrize("release", ["2026", "true"])
def test_names_that_look_like_numbers_or_truths_stay_names(release, helm):
    pools, secrets = '{"100": {}, "true": {}}', '"existingSecret": "123"'
    values = [
        f"pools={pools}", f's3={{{secrets}, "bucket": "models", "endpoint": "http://s3.12.svc"}}',
        f'mlflow={{{secrets}, "uri": "http://mlflow"}}', 'image={"pullSecrets": ["456"]}',
        'rbac={"kfpArtifactSecret": "789"}', 'commonLabels={"team": "7"}',
    ]  # fmt: skip
    arguments = [argument for value in values for argument in ("--set-json", value)]
    found = helm.documents(*arguments, "--namespace", "42", release=release)
    assert misread(found) == []
    assert {name for _, resource, _, name in rules(found, f"{release}-pipeline") if resource == "secrets"} == {"789"}
    (tested,) = one(found, "Pod", f"{release}-test-train")["spec"]["containers"]
    forbidden = json.loads(next(item["value"] for item in tested["env"] if item["name"] == "FORBIDDEN"))
    assert {"verb": "get", "resource": "secrets", "name": "123"} in forbidden


def test_every_pod_meets_the_restricted_level_and_writes_only_where_it_may(helm):
    for name, spec in pod_specs(every(helm)).items():
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] == 1000, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        (container,) = spec["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }, name  # fmt: skip


def test_only_what_asks_the_api_has_a_token(helm):
    found = helm.documents("--values", helm.chart / FULL)
    tokens = {i["metadata"]["name"]: i["automountServiceAccountToken"] for i in found if i["kind"] == "ServiceAccount"}
    assert tokens == {
        "gristmill-pipeline": True, "gristmill-train": True, "gristmill-data": False, "gristmill-trainer": False,
    }  # fmt: skip
    bound = {i["subjects"][0]["name"] for i in found if i["kind"] == "RoleBinding"}
    assert bound == {name for name, token in tokens.items() if token}
    of_pods = {name: spec["automountServiceAccountToken"] for name, spec in pod_specs(found).items()}
    assert {name for name, token in of_pods.items() if token} == {"gristmill-test-pipeline", "gristmill-test-train"}


def test_no_rule_gives_a_wildcard_and_no_secret_is_readable_but_by_name(helm):
    for role in ("gristmill-pipeline", "gristmill-train"):
        for group, resource, verb, name in rules(helm.documents(), role):
            assert "*" not in (group, resource, verb)
            assert resource != "secrets" or name == "mlpipeline-minio-artifact"


def test_rights_that_are_turned_off_are_not_given(helm):
    without = helm.documents("--set", "rbac.train=false")
    assert {resource for _, resource, _, _ in rules(without, "gristmill-pipeline")} == {
        "workflowtaskresults", "configmaps", "secrets", "pods",
    }  # fmt: skip
    assert not [item for item in without if item["kind"] == "Role" and item["metadata"]["name"] == "gristmill-train"]
    alone = helm.documents("--set", "rbac.kfp=false")
    assert rules(alone, "gristmill-pipeline") == rules(alone, "gristmill-train")
    no_secret = rules(helm.documents("--set", "rbac.kfpArtifactSecret="), "gristmill-pipeline")
    assert "secrets" not in {resource for _, resource, _, _ in no_secret}


def test_a_pool_takes_each_key_that_it_does_not_name_from_the_defaults(helm, tmp_path):
    values = tmp_path / "values.yaml"
    values.write_text(
        "poolDefaults: {maxRestarts: 5, nodeSelector: {disk: fast}, cacheSize: 9Gi}\n"
        'pools: {own: {maxRestarts: 0, nodeSelector: {}, cacheSize: ""}}\n'
    )
    found = helm.documents("--values", values)
    own, cpu = one(found, "TrainingRuntime", "own"), one(found, "TrainingRuntime", "cpu")
    restarts = [item["spec"]["template"]["spec"]["failurePolicy"]["maxRestarts"] for item in (own, cpu)]
    assert restarts == [0, 5], "0 is a value, not the absence of one"
    specs = pod_specs(found)
    assert "nodeSelector" not in specs["own"]
    assert specs["cpu"]["nodeSelector"] == {"disk": "fast"}
    caches = [next(v for v in specs[name]["volumes"] if v["name"] == "cache")["emptyDir"] for name in ("own", "cpu")]
    assert caches == [{}, {"sizeLimit": "9Gi"}]


def test_a_platform_without_pools_has_no_runtime_and_no_policy_of_trainings(helm):
    found = helm.documents("--set", "pools.cpu=null")
    assert "TrainingRuntime" not in {item["kind"] for item in found}
    policies = [item["metadata"]["name"] for item in found if item["kind"] == "NetworkPolicy"]
    assert policies == ["gristmill-steps"]
    assert "NetworkPolicy" not in {item["kind"] for item in helm.documents("--set", "networkPolicy.enabled=false")}


def test_further_accounts_have_the_rights_of_a_runs_steps_and_no_others(helm):
    found = helm.documents("--set", "pipeline.alsoFor={pipeline-runner}")
    bound = {item["metadata"]["name"]: item["subjects"] for item in found if item["kind"] == "RoleBinding"}
    assert [subject["name"] for subject in bound["gristmill-pipeline"]] == ["gristmill-pipeline", "pipeline-runner"]
    assert {subject["namespace"] for subject in bound["gristmill-pipeline"]} == {"ml"}
    assert [subject["name"] for subject in bound["gristmill-train"]] == ["gristmill-train"]


@pytest.mark.parametrize(
    ("uri", "namespace"),
    [
        ("http://mlflow:5000", "ml"), ("http://mlflow.tracking:5000", "tracking"),
        ("http://mlflow.tracking.svc.cluster.local/x", "tracking"),
    ],
)  # fmt: skip
def test_steps_reach_an_mlflow_of_the_cluster_in_its_namespace(helm, uri: str, namespace: str):
    there = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    assert {"to": [there]} in egress_of_steps(helm, uri)


def test_steps_reach_an_mlflow_elsewhere_at_its_port(helm):
    anywhere = [{"ipBlock": {"cidr": "0.0.0.0/0"}}, {"ipBlock": {"cidr": "::/0"}}]
    rule = {"to": anywhere, "ports": [{"protocol": "TCP", "port": 8443}]}
    assert rule in egress_of_steps(helm, "https://mlflow.example.org:8443")
    assert rule not in egress_of_steps(helm, "")


def egress_of_steps(helm: Helm, mlflow: str) -> list[dict[str, Any]]:
    policy = one(helm.documents("--set", f"mlflow.uri={mlflow}"), "NetworkPolicy", "gristmill-steps")
    found: list[dict[str, Any]] = policy["spec"]["egress"]
    return found


def test_steps_have_the_label_that_their_policy_selects(helm):
    policy = one(helm.documents(), "NetworkPolicy", "gristmill-steps")
    assert policy["spec"]["podSelector"] == {"matchExpressions": [{"key": STEP_LABEL, "operator": "Exists"}]}
    assert policy["spec"]["ingress"] == []


def test_the_exit_codes_that_end_a_training_for_good_are_those_of_final_errors(helm):
    job = one(helm.documents(), "TrainingRuntime", "cpu")["spec"]["template"]["spec"]["replicatedJobs"][0]
    (rule,) = job["template"]["spec"]["podFailurePolicy"]["rules"]
    final = {errors.UserError.exit_code, errors.ValidationFailed.exit_code, errors.GateNotPassed.exit_code}
    assert set(rule["onExitCodes"]["values"]) == final
    assert errors.Preempted.exit_code not in final


def test_the_rules_of_a_jobset_have_names_that_jobset_takes(helm):
    for runtime in (item for item in every(helm) if item["kind"] == "TrainingRuntime"):
        for rule in runtime["spec"]["template"]["spec"]["failurePolicy"]["rules"]:
            assert re.fullmatch(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", rule["name"])


def test_the_chart_uses_the_names_that_steps_of_a_submitted_run_look_for(helm):
    values = yaml.safe_load((helm.chart / "values.yaml").read_text())
    assert values["s3"]["existingSecret"] == environment.S3_SECRET
    login = f"mlflow.existingSecret={environment.MLFLOW_SECRET}"
    everything = ["--set", f"s3.endpoint=http://s3:9000,s3.bucket=models,mlflow.uri=http://mlflow:5000,{login}"]
    found = helm.documents(*everything)
    assert set(environment.SETTINGS_KEYS) <= set(one(found, "ConfigMap", environment.SETTINGS)["data"])
    references = [
        variable["valueFrom"]["secretKeyRef"]
        for spec in pod_specs(found).values() for variable in spec["containers"][0]["env"]
        if "secretKeyRef" in variable.get("valueFrom", {})
    ]  # fmt: skip
    read = {(reference["name"], reference["key"]) for reference in references}
    assert read == {(environment.S3_SECRET, key) for key in environment.S3_KEYS} | {
        (environment.MLFLOW_SECRET, key) for key in environment.MLFLOW_KEYS
    }
    assert "gristmill submit pretrain" in notes(helm, "gristmill", *everything)


@pytest.mark.parametrize(
    ("release", "settings", "remedy"),
    [
        ("mill", "mlflow.uri=http://m", "fullnameOverride: gristmill "),
        ("gristmill", "s3.existingSecret=keys", f"s3.existingSecret: {environment.S3_SECRET} "),
        ("gristmill", "mlflow.uri=http://m,mlflow.existingSecret=login",
         f"mlflow.existingSecret: {environment.MLFLOW_SECRET} "),
    ],
)  # fmt: skip
def test_the_notes_promise_no_submitted_run_where_its_steps_would_lack_settings(helm, release, settings, remedy):
    said = notes(helm, release, "--set", settings)
    assert "gristmill submit pretrain" not in said
    (line,) = [line for line in said.splitlines() if ", here " in line or "# here " in line]
    assert remedy in line


def test_without_a_secret_pods_take_the_identity_of_their_account(helm):
    found = helm.documents("--values", helm.chart / GPU)
    names = {item["name"] for item in pod_specs(found)["h100"]["containers"][0]["env"]}
    assert "AWS_REGION" in names
    assert not {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"} & names
    account = one(found, "ServiceAccount", "gristmill-trainer")
    assert account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"].startswith("arn:aws:iam::")


@pytest.mark.parametrize(
    ("endpoint", "rule"),
    [
        ("", {"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}, {"ipBlock": {"cidr": "::/0"}}], "port": 443}),
        ("http://minio.example.com:9000", {"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}, {"ipBlock": {"cidr": "::/0"}}],
                                           "port": 9000}),
        ("http://minio.example.com", {"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}, {"ipBlock": {"cidr": "::/0"}}],
                                      "port": 80}),
        ("http://s3.store.svc:7070", {"to": [{"namespaceSelector": {
            "matchLabels": {"kubernetes.io/metadata.name": "store"}}}], "port": None}),
        ("https://s3.store.svc.cluster.local", {"to": [{"namespaceSelector": {
            "matchLabels": {"kubernetes.io/metadata.name": "store"}}}], "port": None}),
    ],
)  # fmt: skip
def test_training_pods_reach_the_s3_server_that_the_endpoint_names(endpoint, rule, helm):
    policy = one(helm.documents("--set", f"s3.endpoint={endpoint}"), "NetworkPolicy", "gristmill-training")
    _dns, s3 = policy["spec"]["egress"]
    assert s3["to"] == rule["to"]
    assert [port["port"] for port in s3.get("ports", [])] == ([] if rule["port"] is None else [rule["port"]])


def test_training_pods_are_reached_by_their_own_pool_alone(helm):
    found = helm.documents("--values", helm.chart / GPU)
    everyone = one(found, "NetworkPolicy", "gristmill-training")["spec"]
    assert set(everyone["policyTypes"]) == {"Ingress", "Egress"}
    assert "ingress" not in everyone
    labels = {
        name: one(found, "TrainingRuntime", name)["spec"]["template"]["spec"]["replicatedJobs"][0]["template"]["spec"][
            "template"
        ]["metadata"]["labels"]
        for name in ("h100", "spot")
    }
    for name in labels:
        spec = one(found, "NetworkPolicy", f"gristmill-training-{name}")["spec"]
        ((peer,),) = [rule["from"] for rule in spec["ingress"]]
        assert peer["podSelector"] == spec["podSelector"]
        selected = [pool for pool, has in labels.items() if spec["podSelector"]["matchLabels"].items() <= has.items()]
        assert selected == [name]
        assert everyone["podSelector"]["matchLabels"].items() <= labels[name].items()


@pytest.mark.parametrize("chart", ["gristmill-platform", "gristmill-serving"])
def test_pods_reach_a_dns_server_whose_pods_listen_on_another_port_than_its_service_as_on_openshift(chart):
    rules = [
        rule
        for policy in Helm(chart).documents()
        if policy["kind"] == "NetworkPolicy"
        for rule in policy["spec"].get("egress", [])
        if {"protocol": "UDP", "port": 53} in rule.get("ports", [])
    ]
    assert rules
    for rule in rules:
        asked = {(one["protocol"], one["port"]) for one in rule["ports"]}
        assert asked == {("UDP", 53), ("TCP", 53), ("UDP", 5353), ("TCP", 5353)}


def test_no_policy_selects_every_namespace(helm):
    for policy in (item for item in every(helm) if item["kind"] == "NetworkPolicy"):
        rendered = json.dumps(policy["spec"])
        assert '"namespaceSelector": {}' not in rendered
        assert '"podSelector": {}' not in rendered


def test_helm_test_asks_only_what_is_installed(helm):
    def pods(*values: str) -> set[str]:
        return {item["metadata"]["name"] for item in helm.documents(*values) if item["kind"] == "Pod"}

    assert pods() == {"gristmill-test-pipeline", "gristmill-test-train"}
    assert pods("--set", "s3.bucket=models") - pods() == {"gristmill-test-s3"}
    assert pods("--set", "mlflow.uri=http://mlflow.ml.svc") - pods() == {"gristmill-test-mlflow"}


def test_a_label_finds_the_pods_of_helm_test_and_nothing_else(helm):
    found = helm.documents("--values", helm.chart / FULL)
    label, value = re.search(r"kubectl delete pod -l (\S+)=(\S+?)`", (helm.chart / "README.md").read_text()).groups()
    labelled = {item["metadata"]["name"] for item in found if item["metadata"]["labels"].get(label) == value}
    assert labelled == {item["metadata"]["name"] for item in found if item["kind"] == "Pod"}
    assert "gristmill-test-s3" in labelled


@pytest.mark.parametrize(
    ("secret", "tried"), [("gristmill-s3", ["gristmill-s3"]), ("mlpipeline-minio-artifact", []), ("", ["any"])]
)
def test_helm_test_tries_no_secret_that_the_account_may_read(helm, secret, tried):
    found = helm.documents("--set", f"s3.existingSecret={secret}")
    (container,) = one(found, "Pod", "gristmill-test-pipeline")["spec"]["containers"]
    forbidden = json.loads(next(item["value"] for item in container["env"] if item["name"] == "FORBIDDEN"))
    acts = [act for act in forbidden if act["resource"] == "secrets"]
    assert [act["name"] for act in acts if act["verb"] == "get"] == tried
    assert {"verb": "list", "resource": "secrets"} in acts


def test_the_notes_say_what_to_run_next(helm):
    said = notes(helm, "mill", "--set", "fullnameOverride=gristmill,s3.bucket=models")
    for expected in (
        "helm test mill --namespace ml", "cluster.namespace=ml", "cluster.service_account=gristmill-pipeline",
        "storage.uri=s3://models/gristmill", "training.pool=cpu training.parallel.nodes=2",
    ):  # fmt: skip
        assert expected in said
