{{/* Parts of the queues of Kueue, and what their values may not say. */}}

{{/* Namespaces that may use a ClusterQueue, as a YAML list: its own, or else those of its localQueues: (list $ NAME QUEUE). */}}
{{- define "gristmill-platform.queueNamespaces" -}}
{{- $name := index . 1 }}
{{- $found := (index . 2).namespaces | default list }}
{{- if not $found }}
{{- range $namespace, $queues := (index . 0).Values.queues.localQueues }}
{{- range $_, $clusterQueue := $queues }}
{{- if eq $clusterQueue $name }}
{{- $found = append $found $namespace }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- if not $found }}
{{- fail (printf "\nerror: queues.clusterQueues.%s: no namespace may use it\n  Name a LocalQueue for it (queues.localQueues), or its namespaces (queues.clusterQueues.%s.namespaces).\n" $name $name) }}
{{- end }}
{{- $found | uniq | toYaml }}
{{- end }}

{{/* Quotas of a ClusterQueue. Kueue wants each resource in each flavor: one that a flavor does not name has the quota 0 there. */}}
{{- define "gristmill-platform.resourceGroup" -}}
{{- $resources := list }}
{{- range $_, $quotas := .flavors }}
{{- $resources = concat $resources (keys $quotas) }}
{{- end }}
{{- $resources = $resources | uniq | sortAlpha }}
- coveredResources:
    {{- toYaml $resources | nindent 4 }}
  flavors:
    {{- range $name, $quotas := .flavors }}
    - name: {{ $name | quote }}
      resources:
        {{- range $resource := $resources }}
        - name: {{ $resource | quote }}
          {{- $quota := get $quotas $resource | default (dict "nominalQuota" 0) }}
          {{- range $key := list "nominalQuota" "borrowingLimit" "lendingLimit" }}
          {{- if hasKey $quota $key }}
          {{ $key }}: {{ get $quota $key | toString | quote }}
          {{- end }}
          {{- end }}
        {{- end }}
    {{- end }}
{{- end }}

{{- define "gristmill-platform.checkQueues" -}}
{{- $queues := .Values.queues }}
{{- if and (or $queues.flavors $queues.topologies $queues.clusterQueues $queues.localQueues $queues.priorities) (include "gristmill-platform.hasCluster" .) }}
{{- if not (.Capabilities.APIVersions.Has "kueue.x-k8s.io/v1beta2/ClusterQueue") }}
{{- fail "\nerror: the cluster has no CRD clusterqueues.kueue.x-k8s.io (v1beta2), which the values under `queues` need\n  It comes with Kueue 0.17 or newer; an administrator of the cluster installs it once, for example with\n    kubectl apply --server-side -f https://github.com/kubernetes-sigs/kueue/releases/download/v0.17.0/manifests.yaml\n  For a platform without queues leave these values out.\n" }}
{{- end }}
{{- end }}
{{- range $name, $flavor := $queues.flavors }}
{{- if and ($flavor).topologyName (not $flavor.nodeLabels) }}
{{- fail (printf "\nerror: queues.flavors.%s has topologyName=%s and no nodeLabels\n  Kueue places pods only on nodes that a label names: set queues.flavors.%s.nodeLabels.\n" $name $flavor.topologyName $name) }}
{{- end }}
{{- end }}
{{- range $name, $queue := $queues.clusterQueues }}
{{- range $flavor, $quotas := $queue.flavors }}
{{- range $resource, $quota := $quotas }}
{{- range $key := list "borrowingLimit" "lendingLimit" }}
{{- if and (hasKey $quota $key) (not $queue.cohort) }}
{{- fail (printf "\nerror: queues.clusterQueues.%s.flavors.%s.%s.%s is set, and the queue has no cohort to borrow from or lend to\n  Set queues.clusterQueues.%s.cohort, or leave %s out.\n" $name $flavor $resource $key $name $key) }}
{{- end }}
{{- end }}
{{- if and (hasKey $quota "lendingLimit") (include "gristmill-platform.larger" (list $quota.lendingLimit $quota.nominalQuota)) }}
{{- fail (printf "\nerror: queues.clusterQueues.%s.flavors.%s.%s: lendingLimit=%v is above nominalQuota=%v\n  A queue lends only what it has: lower lendingLimit, or leave it out to lend all.\n" $name $flavor $resource $quota.lendingLimit $quota.nominalQuota) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
