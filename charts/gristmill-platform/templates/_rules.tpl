{{/*
What the accounts may do, each rule with its reason: the Roles, the helm test, the README's table and the cluster tests all come
from here. Whatever is not here is answered with 403.
*/}}

{{- define "gristmill-platform.kfpRules" -}}
# Argo, which runs the step, reports its outcome and outputs.
- apiGroups: [argoproj.io]
  resources: [workflowtaskresults]
  verbs: [create, patch]
# The step's launcher reads where artifacts are kept.
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [kfp-launcher]
  verbs: [get]
{{- with .Values.rbac.kfpArtifactSecret }}
# The step's launcher opens the bucket of its artifacts.
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [{{ . | quote }}]
  verbs: [get]
{{- end }}
{{- if not .Values.rbac.train }}
# The step's launcher reads from its own pod which attempt it is.
- apiGroups: [""]
  resources: [pods]
  verbs: [get]
{{- end }}
{{- end }}

{{- define "gristmill-platform.trainRules" -}}
# Start a training, adopt it on a retry, wait for its end, delete the trainings of a cancelled run.
- apiGroups: [trainer.kubeflow.org]
  resources: [trainjobs]
  verbs: [create, get, list, delete]
# Refuse a pool that does not exist, and name the pools that exist.
- apiGroups: [trainer.kubeflow.org]
  resources: [trainingruntimes]
  verbs: [get, list]
# Find the training's pods, how each ended, and the image of the launcher's own pod.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list]
# Show the training's log while it runs.
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
# Say why a pod does not start: which resource or which image is missing.
- apiGroups: [""]
  resources: [events]
  verbs: [list]
{{- if .Values.rbac.queues }}
# Refuse a queue of Kueue that does not exist or is stopped, and name the queues that exist.
- apiGroups: [kueue.x-k8s.io]
  resources: [localqueues]
  verbs: [get, list]
# Say what a training waits for in its queue, and for whom it was stopped.
- apiGroups: [kueue.x-k8s.io]
  resources: [workloads]
  verbs: [list]
# Say which place in its queue a training has.
- apiGroups: [visibility.kueue.x-k8s.io]
  resources: [localqueues/pendingworkloads]
  verbs: [get]
{{- end }}
{{- end }}

{{/* What launchers may see of the whole cluster, where the values allow it: (list $ WHAT). */}}
{{- define "gristmill-platform.clusterRules" -}}
{{- $rbac := (index . 0).Values.rbac }}
{{- if and $rbac.train $rbac.clusterQueues (eq (index . 1) "queues") }}
# Refuse a training that its queue can never start, or whose priority does not exist.
- apiGroups: [kueue.x-k8s.io]
  resources: [clusterqueues, cohorts, workloadpriorityclasses]
  verbs: [list]
{{- end }}
{{- if and $rbac.train $rbac.nodes (eq (index . 1) "nodes") }}
# Say which nodes have how many GPUs, where there are too few for a training.
- apiGroups: [""]
  resources: [nodes]
  verbs: [list]
{{- end }}
{{- end }}

{{/* The rules of an account: (list $ ACCOUNT). */}}
{{- define "gristmill-platform.rules" -}}
{{- $root := index . 0 }}
{{- if and (eq (index . 1) "pipeline") $root.Values.rbac.kfp }}
{{ include "gristmill-platform.kfpRules" $root | trim }}
{{- end }}
{{- if $root.Values.rbac.train }}
{{ include "gristmill-platform.trainRules" $root | trim }}
{{- end }}
{{- end }}
