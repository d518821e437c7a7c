{{/*
What the cluster must have: CRDs and Secrets. Without a cluster (`helm template`, `helm lint`) nothing is known, and nothing is
refused: then the API versions are Helm's own list, which has group versions ("v1") but no kinds ("v1/Secret").
*/}}

{{- define "gristmill-platform.hasCluster" -}}
{{- if .Capabilities.APIVersions.Has "v1/Secret" }}yes{{ end }}
{{- end }}

{{- define "gristmill-platform.checkCluster" -}}
{{- if and .Values.pools (include "gristmill-platform.hasCluster" .) }}
{{- $versions := .Capabilities.APIVersions }}
{{- $found := "" }}
{{- if $versions.Has "kubeflow.org/v1/PyTorchJob" }}
{{- $found = "\n  Found instead: kubeflow.org/v1 of the Training Operator 1.x, an older product with another API; both can be installed." }}
{{- end }}
{{- if not ($versions.Has "trainer.kubeflow.org/v1alpha1/TrainingRuntime") }}
{{- fail (printf "\nerror: the cluster has no CRD trainingruntimes.trainer.kubeflow.org (v1alpha1), which the pools need%s\n  It comes with Kubeflow Trainer 2.0 or newer; an administrator of the cluster installs it once, for example with\n    kubectl apply --server-side -k 'https://github.com/kubeflow/trainer.git/manifests/overlays/manager?ref=v2.0.0'\n  For a platform without pools: --set pools.cpu=null\n" $found) }}
{{- end }}
{{- if not ($versions.Has "jobset.x-k8s.io/v1alpha2/JobSet") }}
{{- fail "\nerror: the cluster has no CRD jobsets.jobset.x-k8s.io (v1alpha2), which Kubeflow Trainer runs its jobs with\n  It comes with JobSet 0.8 or newer; an administrator of the cluster installs it once, for example with\n    kubectl apply --server-side -f https://github.com/kubernetes-sigs/jobset/releases/download/v0.8.2/manifests.yaml\n" }}
{{- end }}
{{- end }}
{{- end }}

{{/*
Refuse a change that the API server would refuse in the middle of an upgrade: (list $ NAME POOL). CRDs of Trainer keep the rules of
restart immutable. `rollback` does not come by here.
*/}}
{{- define "gristmill-platform.checkRestarts" -}}
{{- $root := index . 0 }}
{{- $name := index . 1 }}
{{- if and $root.Release.IsUpgrade (include "gristmill-platform.hasCluster" $root) }}
{{- $live := lookup "trainer.kubeflow.org/v1alpha1" "TrainingRuntime" $root.Release.Namespace $name }}
{{- if $live }}
{{- $wanted := include "gristmill-platform.failurePolicy" (index . 2) | fromYaml }}
{{- $has := $live.spec.template.spec.failurePolicy | default dict }}
{{- if or (ne (int64 $wanted.maxRestarts) (int64 $has.maxRestarts)) (ne (toJson $wanted.rules) (toJson $has.rules)) }}
{{- fail (printf "\nerror: the rules of restart of pool %s change (maxRestarts: %d, now %d), which the API server does not allow\n  Delete the pool's TrainingRuntime, which waits for trainings that use it; the upgrade makes it again:\n    kubectl --namespace %s delete trainingruntime %s\n" $name (int64 $wanted.maxRestarts) (int64 $has.maxRestarts) $root.Release.Namespace $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "gristmill-platform.checkSecrets" -}}
{{- if and .Values.mlflow.existingSecret (not .Values.mlflow.uri) }}
{{- fail "\nerror: mlflow.existingSecret is set, but mlflow.uri is empty: a login without a server\n  Set mlflow.uri, or leave both empty.\n" }}
{{- end }}
{{- include "gristmill-platform.checkSecret" (list . "s3.existingSecret" .Values.s3.existingSecret (list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY")) }}
{{- include "gristmill-platform.checkSecret" (list . "mlflow.existingSecret" .Values.mlflow.existingSecret (list "MLFLOW_TRACKING_USERNAME" "MLFLOW_TRACKING_PASSWORD")) }}
{{- range .Values.image.pullSecrets }}
{{- include "gristmill-platform.checkSecret" (list $ "image.pullSecrets" . list) }}
{{- end }}
{{- end }}

{{/* Refuse a Secret that is not there or lacks a key: (list $ VALUE NAME KEYS). */}}
{{- define "gristmill-platform.checkSecret" -}}
{{- $root := index . 0 }}
{{- $value := index . 1 }}
{{- $name := index . 2 }}
{{- if and $name $root.Values.verifySecrets (include "gristmill-platform.hasCluster" $root) }}
{{- $namespace := $root.Release.Namespace }}
{{- $secret := lookup "v1" "Secret" $namespace $name }}
{{- $literals := "" }}
{{- $missing := list }}
{{- range index . 3 }}
{{- $literals = printf "%s --from-literal=%s=…" $literals . }}
{{- if not (hasKey (($secret).data | default dict) .) }}
{{- $missing = append $missing . }}
{{- end }}
{{- end }}
{{- $make := printf "kubectl --namespace %s create secret generic %s%s" $namespace $name $literals }}
{{- if eq $value "image.pullSecrets" }}
{{- $make = printf "kubectl --namespace %s create secret docker-registry %s --docker-server=… --docker-username=… --docker-password=…" $namespace $name }}
{{- end }}
{{- if not $secret }}
{{- fail (printf "\nerror: %s=%s: namespace %s has no such Secret\n  Make it (and the namespace, if need be: kubectl create namespace %s):\n    %s\n  Where the chart is rendered without a look at the cluster (Argo CD): --set verifySecrets=false\n" $value $name $namespace $namespace $make) }}
{{- end }}
{{- if $missing }}
{{- fail (printf "\nerror: %s=%s: the Secret in namespace %s lacks %s\n  Make it again:\n    kubectl --namespace %s delete secret %s\n    %s\n" $value $name $namespace (join ", " $missing) $namespace $name $make) }}
{{- end }}
{{- end }}
{{- end }}
