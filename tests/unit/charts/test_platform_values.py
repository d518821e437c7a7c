"""The platform chart's values: each mistake is refused before anything is created, with its remedy."""

from __future__ import annotations

import pytest

from tests.cases.helm import A_CLUSTER, JOBSET, TRAINER, Helm, one

CPU = "pools.cpu.resources"
QUEUE = "queues.clusterQueues.a.flavors.default.cpu"


@pytest.fixture(scope="module")
def helm() -> Helm:
    return Helm("gristmill-platform")


MISTAKES = {
    "poools.cpu=null": "at '': additional properties 'poools' not allowed",
    "s3.bukcet=x": "at '/s3': additional properties 'bukcet' not allowed",
    "s3.endpoint=minio:9000": "at '/s3/endpoint': 'minio:9000' does not match pattern",
    "s3.bucket=ab": "at '/s3/bucket': 'ab' does not match pattern",
    "mlflow.uri=http://user:password@mlflow": "at '/mlflow/uri': 'http://user:password@mlflow' does not match pattern",
    "image.pullPolicy=Sometimes": "at '/image/pullPolicy': value must be one of 'Always', 'IfNotPresent', 'Never'",
    "image.digest=sha256:12": "at '/image/digest': 'sha256:12' does not match pattern",
    "fullnameOverride=Mine": "at '/fullnameOverride': 'Mine' does not match pattern",
    "commonLabels.app\\.kubernetes\\.io/name=mine": "at '/commonLabels/app.kubernetes.io~1name': false schema",
    "poolDefaults.shm=1Gi": "at '/poolDefaults': additional properties 'shm' not allowed",
    "pools.gpu.gpus=8": "at '/pools/gpu': additional properties 'gpus' not allowed",
    "pools.Big.maxRestarts=1": "at '/pools': additional properties 'Big' not allowed",
    "pools.cpu.maxRestarts=often": "at '/pools/cpu/maxRestarts': got string, want null or integer",
    "pools.one.maxRestarts=-1": "at '/pools/one/maxRestarts': minimum: got -1, want 0",
    "pools.cpu.sharedMemory=1GB": "at '/pools/cpu/sharedMemory': '1GB' does not match pattern",
    f"{CPU}.requests.memory=lots": "at '/pools/cpu/resources/requests/memory': 'lots' does not match pattern",
    "pools.cpu.tolerations[0].operator=Has": "at '/pools/cpu/tolerations/0/operator': value must be one of",
    "pools.cpu.env[0].name=A": "at '/pools/cpu/env/0': 'oneOf' failed",
    "networkPolicy.enabled=maybe": "at '/networkPolicy/enabled': got string, want boolean",
    "networkPolicy.s3Cidrs[0]=10.0.0.1": "at '/networkPolicy/s3Cidrs/0': '10.0.0.1' does not match pattern",
    "queues.priorities.urgent=high": "at '/queues/priorities/urgent': got string, want integer",
    "queues.clusterQueues.a.cohrot=x": "at '/queues/clusterQueues/a': additional properties 'cohrot' not allowed",
    "queues.clusterQueues.b.flavors.default.cpu.nominalQuota=much":
        "at '/queues/clusterQueues/b/flavors/default/cpu/nominalQuota': 'much' does not match pattern",
    "quota.limits\\.nvidia\\.com/gpu=8": "at '/quota/limits.nvidia.com~1gpu': false schema",
}  # fmt: skip


@pytest.fixture(scope="module")
def refusal_of_all_mistakes() -> str:
    return Helm("gristmill-platform").refusal(*[argument for mistake in MISTAKES for argument in ("--set", mistake)])


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_the_schema_does_not_know_is_refused_all_at_once(mistake, refusal_of_all_mistakes):
    assert MISTAKES[mistake] in refusal_of_all_mistakes


def test_a_policy_that_lets_pods_reach_every_namespace_is_refused(helm):
    everywhere = 'networkPolicy.extraEgress=[{"to": [{"namespaceSelector": {}}]}]'
    refusal = helm.refusal("--set-json", everywhere)
    assert "at '/networkPolicy/extraEgress/0/to/0/namespaceSelector': minProperties: got 0, want 1" in refusal


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ([f"{QUEUE}.nominalQuota=4", f"{QUEUE}.borrowingLimit=2", "queues.localQueues.ml.default=a"],
         "borrowingLimit is set, and the queue has no cohort to borrow from"),
        ([f"{QUEUE}.nominalQuota=4", f"{QUEUE}.lendingLimit=5", "queues.clusterQueues.a.cohort=c",
          "queues.localQueues.ml.default=a"], "lendingLimit=5 is above nominalQuota=4"),
        ([f"{QUEUE}.nominalQuota=4", "queues.localQueues.ml.default=b"],
         "queues.clusterQueues.a: no namespace may use it"),
        (["mlflow.existingSecret=login"], "mlflow.existingSecret is set, but mlflow.uri is empty"),
        ([f"{CPU}.limits.memory=1Gi", f"{CPU}.requests.memory=2Gi", f"{CPU}.requests.cpu=1"],
         "the request for memory (2Gi) is above its limit (1Gi)"),
        ([f"{CPU}.limits.cpu=500m", f"{CPU}.requests.cpu=1"], "the request for cpu (1) is above its limit (500m)"),
        ([f"{CPU}.requests.nvidia\\.com/gpu=8", f"{CPU}.requests.cpu=1"],
         "nvidia.com/gpu is requested but has no limit"),
        ([f"{CPU}.requests.nvidia\\.com/gpu=8", f"{CPU}.limits.nvidia\\.com/gpu=4", f"{CPU}.requests.cpu=1"],
         "8 of nvidia.com/gpu are requested, the limit is 4"),
        ([f"{CPU}.limits.nvidia\\.com/gpu=4"], "pools.cpu.resources requests no cpu"),
        ([f"{CPU}.limits.memory=1Gi", f"{CPU}.limits.cpu=1", "pools.cpu.sharedMemory=2Gi"],
         "pools.cpu.sharedMemory=2Gi is above resources.limits.memory=1Gi"),
        (["poolDefaults.deadlineSeconds=100"], "deadlineSeconds=100 is not above terminationGracePeriodSeconds=120"),
        (["pools.cpu.env[0].name=AWS_ACCESS_KEY_ID", "pools.cpu.env[0].value=x"], "set s3.existingSecret"),
        (["pools.cpu.env[0].name=GRISTMILL_CACHE", "pools.cpu.env[0].value=x"],
         "GRISTMILL_CACHE is set by this chart\n  Leave it out."),
        (["pools.cpu.env[0].name=PET_NNODES", "pools.cpu.env[0].value=x"], "PET_NNODES is set by Kubeflow Trainer"),
        (["pools.cpu.volumes[0].name=cache", "pools.cpu.volumes[0].emptyDir.medium=Memory"],
         "the name cache is taken by this chart"),
        (["pools.cpu.volumeMounts[0].name=data", "pools.cpu.volumeMounts[0].mountPath=/data"],
         "there is no volume data\n  The pool's volumes: none."),
        (["pools.cpu.volumes[0].name=data", "pools.cpu.volumes[0].emptyDir.medium=Memory",
          "pools.cpu.volumeMounts[0].name=data", "pools.cpu.volumeMounts[0].mountPath=/tmp/"],
         "/tmp/ is taken by this chart or by the image"),
        (["quota.requests\\.memory=1Gi"],
         "quota.requests.memory=1Gi is less than a single pod of pools.cpu asks for: 2Gi"),
        (["quota.cpu=400m"], "quota.cpu=400m is less than a single pod of pools.cpu asks for: 500m"),
        (["quota.limits\\.memory=64Gi"], "pods of pools.cpu name no limits.memory"),
        (["limitRange.max.memory=1Gi"], "limitRange.max.memory=1Gi is less than a pod of pools.cpu asks for: 2Gi"),
        (["limitRange.default.memory=1Gi"],
         "limitRange.default.memory=1Gi is less than the request of a pod of pools.cpu, which names no limit: 2Gi"),
        (["limitRange.default.cpu=250m"],
         "limitRange.default.cpu=250m is less than the request of a pod of pools.cpu, which names no limit: 500m"),
        (["limitRange.default.memory=2Gi", "pools.cpu.sharedMemory=3Gi"],
         "pools.cpu.sharedMemory=3Gi is above limitRange.default.memory=2Gi"),
        (["limitRange.default.cpu=2", "limitRange.max.cpu=1"],
         "limitRange.default.cpu=2 is above limitRange.max.cpu=1"),
        (["limitRange.defaultRequest.memory=1G", "limitRange.default.memory=900M"],
         "limitRange.defaultRequest.memory=1G is above limitRange.default.memory=900M"),
    ],
)  # fmt: skip
def test_values_that_contradict_one_another_are_refused(settings, said, helm):
    arguments = [argument for setting in settings for argument in ("--set", setting)]
    assert said in helm.refusal(*arguments)


@pytest.mark.parametrize(
    "settings",
    [
        ["quota.limits\\.memory=64Gi", "limitRange.default.memory=4Gi"],
        ["limitRange.default.memory=1Gi", f"{CPU}.limits.memory=4Gi", f"{CPU}.requests.cpu=1"],
        ["quota.requests\\.memory=2048Mi", "quota.requests\\.cpu=1000m"],
        ["quota.pods=10", "quota.requests\\.nvidia\\.com/gpu=8"],
        [f"{CPU}.limits.cpu=2", f"{CPU}.limits.memory=2Gi", f"{CPU}.requests.memory=2147483648"],
        ["pools.cpu.env[0].name=AWS_CA_BUNDLE", "pools.cpu.env[0].value=/certs/ca.pem"],
    ],
)
def test_values_that_only_look_contradictory_are_taken(settings, helm):
    helm.template(*[argument for setting in settings for argument in ("--set", setting)])


@pytest.mark.parametrize(
    ("given", "written"),
    [("0.1", "100m"), ("1000m", "1"), ("1500m", "1500m"), ("2", "2"), ("0", "0"), ("64", "64"), ("2000", "2k"),
     ("1024Mi", "1Gi"), ("1536Mi", "1536Mi"), ("0.5Gi", "512Mi"), ("1000M", "1G"), ("2147483648", "2147483648")],
)  # fmt: skip
def test_quantities_are_rendered_as_kubernetes_writes_them(given, written, helm):
    rendered = helm.documents("--set", f"pools.cpu.resources.limits.storage={given},{CPU}.requests.cpu=1")
    (job,) = one(rendered, "TrainingRuntime", "cpu")["spec"]["template"]["spec"]["replicatedJobs"]
    (container,) = job["template"]["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"] == {"storage": written}


def api_versions(*versions: str) -> list[str]:
    return [argument for version in versions for argument in ("--api-versions", version)]


def test_a_cluster_without_trainer_is_refused_with_what_is_missing_and_how_to_get_it(helm):
    said = helm.refusal(*api_versions(*A_CLUSTER))
    assert "no CRD trainingruntimes.trainer.kubeflow.org (v1alpha1)" in said
    assert "Kubeflow Trainer 2.0 or newer" in said
    assert "kubectl apply --server-side -k" in said


def test_the_older_training_operator_is_not_taken_for_trainer(helm):
    said = helm.refusal(*api_versions(*A_CLUSTER, "kubeflow.org/v1", "kubeflow.org/v1/PyTorchJob"))
    assert "Found instead: kubeflow.org/v1 of the Training Operator 1.x" in said


def test_a_cluster_without_jobset_is_refused(helm):
    assert "no CRD jobsets.jobset.x-k8s.io (v1alpha2)" in helm.refusal(*api_versions(*A_CLUSTER, *TRAINER))


def test_a_cluster_that_is_too_old_is_refused(helm):
    assert "requires kubeVersion: >=1.31.0-0" in helm.refusal("--kube-version", "1.29.0")


def test_a_secret_that_is_missing_is_refused_with_the_command_that_makes_it(helm):
    everything = api_versions(*A_CLUSTER, *TRAINER, *JOBSET)
    said = helm.refusal(*everything)
    assert "s3.existingSecret=gristmill-s3: namespace ml has no such Secret" in said
    assert (
        "kubectl --namespace ml create secret generic gristmill-s3"
        " --from-literal=AWS_ACCESS_KEY_ID=… --from-literal=AWS_SECRET_ACCESS_KEY=…"
    ) in said
    helm.template(*everything, "--set", "verifySecrets=false")
    helm.template(*everything, "--set", "s3.existingSecret=")
    said = helm.refusal(*everything, "--set", "s3.existingSecret=,image.pullSecrets[0]=login")
    assert "create secret docker-registry login" in said


def test_a_platform_without_pools_needs_no_trainer(helm):
    helm.template(*api_versions(*A_CLUSTER), "--set", "pools.cpu=null,s3.existingSecret=")


def test_without_a_cluster_a_crd_or_a_secret_that_may_be_missing_refuses_nothing(helm):
    assert "TrainingRuntime" in {item["kind"] for item in helm.documents()}
    assert "no CRD trainingruntimes" in helm.refusal(*api_versions(*A_CLUSTER)), "of a cluster the same is refused"
