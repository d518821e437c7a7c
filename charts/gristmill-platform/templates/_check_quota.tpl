{{/* A quota or limit range under which no pod of a pool could ever start. */}}

{{/* The limit range in itself. */}}
{{- define "gristmill-platform.checkQuota" -}}
{{- with .Values.limitRange }}
{{- $range := . }}
{{- range $pair := list (list "default" "max") (list "defaultRequest" "max") (list "defaultRequest" "default") }}
{{- $lower := get $range (index $pair 0) }}
{{- $upper := get $range (index $pair 1) }}
{{- range $resource, $quantity := $lower }}
{{- if and (hasKey $upper $resource) (include "gristmill-platform.larger" (list $quantity (get $upper $resource))) }}
{{- fail (printf "\nerror: limitRange.%s.%s=%v is above limitRange.%s.%s=%v\n  Raise the latter or lower the former.\n" (index $pair 0) $resource $quantity (index $pair 1) $resource (get $upper $resource)) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* What the namespace's limits leave of one pod of a pool: (list $ WHERE POOL). */}}
{{- define "gristmill-platform.checkPoolQuota" -}}
{{- $values := (index . 0).Values }}
{{- $where := index . 1 }}
{{- $resources := (index . 2).resources }}
{{- $sharedMemory := (index . 2).sharedMemory }}
{{- $limits := merge (dict) ($resources.limits | default dict) $values.limitRange.default }}
{{- $requests := merge (dict) ($resources.requests | default dict) ($resources.limits | default dict) $values.limitRange.defaultRequest $values.limitRange.default }}
{{- range $resource, $quantity := $resources.requests }}
{{- $default := get $values.limitRange.default $resource }}
{{- if and $default (not (hasKey ($resources.limits | default dict) $resource)) (include "gristmill-platform.larger" (list $quantity $default)) }}
{{- fail (printf "\nerror: limitRange.default.%s=%v is less than the request of a pod of %s, which names no limit: %v\n  The default would be its limit, and the API server would refuse each pod. Set %s.resources.limits.%s, or raise limitRange.default.\n" $resource $default $where $quantity $where $resource) }}
{{- end }}
{{- end }}
{{- if and $values.limitRange.default.memory (not ($resources.limits).memory) (include "gristmill-platform.larger" (list $sharedMemory $values.limitRange.default.memory)) }}
{{- fail (printf "\nerror: %s.sharedMemory=%v is above limitRange.default.memory=%v, the limit of a pod that names none\n  Set %s.resources.limits.memory, or lower sharedMemory.\n" $where $sharedMemory $values.limitRange.default.memory $where) }}
{{- end }}
{{- range $key, $hard := $values.quota }}
{{- $resource := $key | trimPrefix "requests." | trimPrefix "limits." }}
{{- $asked := hasPrefix "limits." $key | ternary $limits $requests }}
{{- if hasKey $asked $resource }}
{{- if include "gristmill-platform.larger" (list (get $asked $resource) $hard) }}
{{- fail (printf "\nerror: quota.%s=%v is less than a single pod of %s asks for: %v\n  Raise the quota, or lower %s.resources.\n" $key $hard $where (get $asked $resource) $where) }}
{{- end }}
{{- else if has $resource (list "cpu" "memory") }}
{{- $kind := hasPrefix "limits." $key | ternary "limits" "requests" }}
{{- $default := hasPrefix "limits." $key | ternary "default" "defaultRequest" }}
{{- fail (printf "\nerror: quota.%s is set, but pods of %s name no %s.%s: the API server would refuse each of them\n  Set %s.resources.%s.%s, or limitRange.%s.%s.\n" $key $where $kind $resource $where $kind $resource $default $resource) }}
{{- end }}
{{- end }}
{{- range $resource, $most := $values.limitRange.max }}
{{- range $asked := list $limits $requests }}
{{- if and (hasKey $asked $resource) (include "gristmill-platform.larger" (list (get $asked $resource) $most)) }}
{{- fail (printf "\nerror: limitRange.max.%s=%v is less than a pod of %s asks for: %v\n  Raise limitRange.max, or lower %s.resources.\n" $resource $most $where (get $asked $resource) $where) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
