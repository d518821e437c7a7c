{{/* Contradictions within a pool. A schema cannot compare two values. */}}

{{/* Requests against limits, as the API server compares them, but earlier: (list WHERE POOL). */}}
{{- define "gristmill-platform.checkResources" -}}
{{- $where := index . 0 }}
{{- $pool := index . 1 }}
{{- $requests := $pool.resources.requests | default dict }}
{{- $limits := $pool.resources.limits | default dict }}
{{- if not (or $requests.cpu $limits.cpu) }}
{{- fail (printf "\nerror: %s.resources requests no cpu\n  The ranks of a pod share as many threads as it requests: set %s.resources.requests.cpu. A pool's `resources` replaces that of poolDefaults as a whole.\n" $where $where) }}
{{- end }}
{{- range $resource, $quantity := $requests }}
{{- if contains "/" $resource }}
{{- if not (hasKey $limits $resource) }}
{{- fail (printf "\nerror: %s.resources: %s is requested but has no limit\n  Devices are given whole: name it under limits alone, requests follow.\n" $where $resource) }}
{{- else if ne (toString $quantity) (get $limits $resource | toString) }}
{{- fail (printf "\nerror: %s.resources: %v of %s are requested, the limit is %v\n  Devices are given whole: name it under limits alone, requests follow.\n" $where $quantity $resource (get $limits $resource)) }}
{{- end }}
{{- else if hasKey $limits $resource }}
{{- if include "gristmill-platform.larger" (list $quantity (get $limits $resource)) }}
{{- fail (printf "\nerror: %s.resources: the request for %s (%v) is above its limit (%v)\n  Raise the limit or lower the request. A pool's `resources` replaces that of poolDefaults as a whole.\n" $where $resource $quantity (get $limits $resource)) }}
{{- end }}
{{- end }}
{{- end }}
{{- with $limits.memory }}
{{- if include "gristmill-platform.larger" (list $pool.sharedMemory .) }}
{{- fail (printf "\nerror: %s.sharedMemory=%v is above resources.limits.memory=%v, and counts as the pod's memory\n  Raise the limit or lower sharedMemory.\n" $where $pool.sharedMemory .) }}
{{- end }}
{{- end }}
{{- if le (int64 $pool.deadlineSeconds) (int64 $pool.terminationGracePeriodSeconds) }}
{{- fail (printf "\nerror: %s.deadlineSeconds=%d is not above terminationGracePeriodSeconds=%d\n  Raise the deadline: it is the longest that an attempt of a training may take.\n" $where (int64 $pool.deadlineSeconds) (int64 $pool.terminationGracePeriodSeconds)) }}
{{- end }}
{{- end }}

{{/* What a pool may not set, since the chart sets it itself: (list $ WHERE POOL). */}}
{{- define "gristmill-platform.checkPod" -}}
{{- $where := index . 1 }}
{{- $pool := index . 2 }}
{{- $settings := dict
      "AWS_ACCESS_KEY_ID" "s3.existingSecret" "AWS_SECRET_ACCESS_KEY" "s3.existingSecret" "AWS_ENDPOINT_URL" "s3.endpoint"
      "AWS_REGION" "s3.region" "AWS_DEFAULT_REGION" "s3.region" "GRISTMILL_CPUS" "resources.requests.cpu" "GRISTMILL_CACHE" "" }}
{{- range $pool.env }}
{{- if hasPrefix "PET_" .name }}
{{- fail (printf "\nerror: %s.env: %s is set by Kubeflow Trainer\n  Leave it out: nodes and processes of a training are its own (training.parallel.nodes, training.parallel.processes).\n" $where .name) }}
{{- end }}
{{- if hasKey $settings .name }}
{{- $remedy := get $settings .name | empty | ternary "Leave it out." (printf "Leave it out, and set %s." (get $settings .name)) }}
{{- fail (printf "\nerror: %s.env: %s is set by this chart\n  %s\n" $where .name $remedy) }}
{{- end }}
{{- end }}
{{- $volumes := list }}
{{- range $pool.volumes }}
{{- if has .name (list "tmp" "cache" "shm") }}
{{- fail (printf "\nerror: %s.volumes: the name %s is taken by this chart\n  Give the volume another name; the sizes of /cache and /dev/shm are cacheSize and sharedMemory.\n" $where .name) }}
{{- end }}
{{- $volumes = append $volumes .name }}
{{- end }}
{{- range $pool.volumeMounts }}
{{- if has (.mountPath | clean) (list "/" "/tmp" "/cache" "/dev/shm" "/opt/gristmill") }}
{{- fail (printf "\nerror: %s.volumeMounts: %s is taken by this chart or by the image\n  Mount %s elsewhere, such as /data.\n" $where .mountPath .name) }}
{{- end }}
{{- if not (has .name $volumes) }}
{{- fail (printf "\nerror: %s.volumeMounts: there is no volume %s\n  The pool's volumes: %s.\n" $where .name (join ", " $volumes | default "none")) }}
{{- end }}
{{- end }}
{{- end }}
