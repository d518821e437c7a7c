{{/* Where the pods of a pool run: what they tolerate, and where those of one training stand to each other. */}}

{{/* Devices that a pod of the pool asks for, such as nvidia.com/gpu, as a YAML list of resource names. */}}
{{- define "gristmill-platform.devices" -}}
{{- $found := list }}
{{- range $resource, $amount := .resources.limits }}
{{- if and (contains "/" $resource) (ne (toString $amount) "0") }}
{{- $found = append $found $resource }}
{{- end }}
{{- end }}
{{- $found | sortAlpha | toYaml }}
{{- end }}

{{/*
The pool's tolerations, and one for each device: nodes that are kept for a device have a taint with its name. Clusters with the
admission plugin ExtendedResourceToleration add the same:
https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#extendedresourcetoleration
*/}}
{{- define "gristmill-platform.tolerations" -}}
{{- $found := .tolerations | default list }}
{{- range include "gristmill-platform.devices" . | fromYamlArray }}
{{- $own := dict "key" . "operator" "Exists" "effect" "NoSchedule" }}
{{- if not (has $own $found) }}
{{- $found = append $found $own }}
{{- end }}
{{- end }}
{{- with $found }}
{{ dict "tolerations" . | toYaml }}
{{- end }}
{{- end }}

{{/*
The pool's affinity, and that of `topology`: (list $ POOL). matchLabelKeys makes it hold between the pods of one training, and not
between all trainings of the pool. The first pod of a training finds no other, and the scheduler lets it choose. Where Kueue
places the pods, it does that for all of them at once, and nothing is added here.
*/}}
{{- define "gristmill-platform.affinity" -}}
{{- $pool := index . 1 }}
{{- $found := deepCopy ($pool.affinity | default dict) }}
{{- if and $pool.topology.label (not $pool.topology.kueue) }}
{{- $labels := include "gristmill-platform.selector" (list (index . 0) "training") | fromYaml }}
{{- $term := dict "topologyKey" $pool.topology.label "labelSelector" (dict "matchLabels" $labels)
      "matchLabelKeys" (list "jobset.sigs.k8s.io/jobset-name") }}
{{- $near := dict "preferredDuringSchedulingIgnoredDuringExecution" (list (dict "weight" 100 "podAffinityTerm" $term)) }}
{{- if $pool.topology.required }}
{{- $near = dict "requiredDuringSchedulingIgnoredDuringExecution" (list $term) }}
{{- end }}
{{- $_ := set $found "podAffinity" $near }}
{{- end }}
{{- with $found }}
{{ dict "affinity" . | toYaml }}
{{- end }}
{{- end }}

{{/* Annotations of the pods: those of the pool, and the request to Kueue's topology-aware scheduling. */}}
{{- define "gristmill-platform.trainingAnnotations" -}}
{{- $found := deepCopy (.podAnnotations | default dict) }}
{{- if and .topology.label .topology.kueue }}
{{- $_ := set $found (printf "kueue.x-k8s.io/podset-%s-topology" (ternary "required" "preferred" (.topology.required | default false))) .topology.label }}
{{- end }}
{{- with $found }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Settings of NCCL for pods with NVIDIA's devices: it says what failed, where it would be silent. The pool's `env` comes first. */}}
{{- define "gristmill-platform.ncclEnvironment" -}}
{{- $names := list }}
{{- range .env }}
{{- $names = append $names .name }}
{{- end }}
{{- if and (contains "nvidia.com/" (include "gristmill-platform.devices" .)) (not (has "NCCL_DEBUG" $names)) }}
- name: NCCL_DEBUG
  value: WARN
{{- end }}
{{- end }}

{{- define "gristmill-platform.checkTopology" -}}
{{- $where := index . 0 }}
{{- $pool := index . 1 }}
{{- if and $pool.topology (not $pool.topology.label) }}
{{- fail (printf "\nerror: %s.topology names no label\n  Set %s.topology.label to the label of the nodes that says where a node stands, such as topology.kubernetes.io/zone.\n" $where $where) }}
{{- end }}
{{- if and $pool.topology.label (not $pool.topology.kueue) ($pool.affinity).podAffinity }}
{{- fail (printf "\nerror: %s has both topology and affinity.podAffinity\n  Say in one of them where the pods of a training stand to each other.\n" $where) }}
{{- end }}
{{- end }}
