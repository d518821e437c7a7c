{{/* What a schema cannot say: values that contradict each other, and Secrets and a CRD that do not exist. */}}

{{- define "gristmill-serving.checkName" -}}
{{- $name := include "gristmill-serving.fullname" . }}
{{- if not (regexMatch "^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$" $name) }}
{{- fail (printf "\nerror: the release's name %s cannot be the name of a Service: small letters, digits and '-', a letter first\n  Choose another name for the release, or set fullnameOverride.\n" $name) }}
{{- end }}
{{- end }}

{{- define "gristmill-serving.checkContradictions" -}}
{{- if and .Values.image.tag .Values.image.digest }}
{{- fail (printf "\nerror: image.tag=%s and image.digest=%s both say which image\n  Set one of them: the digest to be sure what runs.\n" .Values.image.tag .Values.image.digest) }}
{{- end }}
{{- if and (hasPrefix "s3://" .Values.model.uri) (not .Values.s3.existingSecret) (not .Values.serviceAccount.annotations) }}
{{- fail (printf "\nerror: model.uri=%s is in S3, and s3.existingSecret is empty: nothing says with which keys\n  Make a Secret with keys that may read the bucket, and name it:\n    kubectl --namespace %s create secret generic gristmill-s3 --from-literal=AWS_ACCESS_KEY_ID=… --from-literal=AWS_SECRET_ACCESS_KEY=…\n    helm … --set s3.existingSecret=gristmill-s3\n  Or give the pods an identity of the cloud: serviceAccount.annotations.\n" .Values.model.uri .Release.Namespace) }}
{{- end }}
{{- $fewest := include "gristmill-serving.fewestPods" . | int }}
{{- $most := int .Values.autoscaling.maxReplicas }}
{{- if and .Values.autoscaling.enabled (gt $fewest $most) }}
{{- fail (printf "\nerror: autoscaling.minReplicas=%d is more than autoscaling.maxReplicas=%d\n  Lower the one or raise the other.\n" $fewest $most) }}
{{- end }}
{{- $away := int .Values.podDisruptionBudget.maxUnavailable }}
{{- if and (gt $fewest 1) (ge $away $fewest) }}
{{- $key := ternary "autoscaling.minReplicas" "replicas" .Values.autoscaling.enabled }}
{{- fail (printf "\nerror: podDisruptionBudget.maxUnavailable=%d lets all of %s=%d go at once\n  Allowed: 1 to %d.\n" $away $key $fewest (sub $fewest 1)) }}
{{- end }}
{{- range .Values.extraEnv }}
{{- if has .name (list "GRISTMILL_CPUS" "POD_UID" "HOME" "ORT_DISABLE_TELEMETRY") }}
{{- fail (printf "\nerror: extraEnv sets %s, which the chart sets itself\n  For GRISTMILL_CPUS there is the value threads; the others are not to be changed.\n" .name) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Requests above limits: (list $ KEY RESOURCES). Kubernetes would refuse them too, but only after other objects were made. */}}
{{- define "gristmill-serving.checkResources" -}}
{{- $root := index . 0 }}
{{- $key := index . 1 }}
{{- $resources := index . 2 }}
{{- range $name, $request := $resources.requests | default dict }}
{{- $limit := get ($resources.limits | default dict) $name }}
{{- if and $limit (include "gristmill-serving.larger" (list $request $limit)) }}
{{- fail (printf "\nerror: %s asks for more %s than it may use: requests.%s=%v, limits.%s=%v\n" $key $name $name $request $name $limit) }}
{{- end }}
{{- end }}
{{- $memory := get ($resources.limits | default dict) "memory" }}
{{- if and $memory (include "gristmill-serving.larger" (list $root.Values.sharedMemory $memory)) }}
{{- fail (printf "\nerror: sharedMemory=%s counts as memory, and %s.limits.memory is %v\n  Lower the one or raise the other.\n" $root.Values.sharedMemory $key $memory) }}
{{- end }}
{{- end }}

{{/*
"yes" where the cluster's APIs are known. Without a cluster (`helm template`, `helm lint`) nothing is known, and nothing is refused:
then the API versions are Helm's own list, which has group versions ("v1") but no kinds ("v1/Secret").
*/}}
{{- define "gristmill-serving.clusterIsKnown" -}}
{{- if .Capabilities.APIVersions.Has "v1/Secret" }}yes{{ end }}
{{- end }}

{{- define "gristmill-serving.checkKeda" -}}
{{- if and .Values.autoscaling.enabled (include "gristmill-serving.clusterIsKnown" .) (not (.Capabilities.APIVersions.Has "keda.sh/v1alpha1/ScaledObject")) }}
{{- fail "\nerror: autoscaling.enabled=true needs KEDA, and the cluster has no CRD scaledobjects.keda.sh (v1alpha1)\n  An administrator installs it, 2.20 or later:\n    helm install keda keda --repo https://kedacore.github.io/charts --namespace keda --create-namespace\n  Or leave autoscaling.enabled=false, and set the number of pods with replicas.\n" }}
{{- end }}
{{- end }}

{{- define "gristmill-serving.checkSecrets" -}}
{{- if and .Values.verifySecrets (include "gristmill-serving.clusterIsKnown" .) }}
{{- if and (hasPrefix "s3://" .Values.model.uri) .Values.s3.existingSecret }}
{{- include "gristmill-serving.checkSecret" (list . "s3.existingSecret" .Values.s3.existingSecret (list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY")) }}
{{- end }}
{{- range .Values.image.pullSecrets }}
{{- include "gristmill-serving.checkSecret" (list $ "image.pullSecrets" . (list ".dockerconfigjson")) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Refuse a Secret that is not there or lacks a key: (list $ VALUE NAME KEYS). */}}
{{- define "gristmill-serving.checkSecret" -}}
{{- $namespace := (index . 0).Release.Namespace }}
{{- $secret := lookup "v1" "Secret" $namespace (index . 2) }}
{{- $literals := "" }}
{{- $missing := list }}
{{- range index . 3 }}
{{- $literals = printf "%s --from-literal=%s=…" $literals . }}
{{- if not (hasKey (($secret).data | default dict) .) }}
{{- $missing = append $missing . }}
{{- end }}
{{- end }}
{{- $make := printf "kubectl --namespace %s create secret generic %s%s" $namespace (index . 2) $literals }}
{{- if has ".dockerconfigjson" (index . 3) }}
{{- $make = printf "kubectl --namespace %s create secret docker-registry %s --docker-server=… --docker-username=… --docker-password=…" $namespace (index . 2) }}
{{- end }}
{{- $without := "Where the chart is rendered without a look at the cluster (Argo CD): --set verifySecrets=false" }}
{{- if not $secret }}
{{- fail (printf "\nerror: %s=%s: namespace %s has no such Secret\n  Make it (and the namespace, if need be: kubectl create namespace %s):\n    %s\n  %s\n" (index . 1) (index . 2) $namespace $namespace $make $without) }}
{{- end }}
{{- if $missing }}
{{- fail (printf "\nerror: %s=%s: the Secret in namespace %s lacks %s\n  Make it again:\n    kubectl --namespace %s delete secret %s\n    %s\n" (index . 1) (index . 2) $namespace (join ", " $missing) $namespace (index . 2) $make) }}
{{- end }}
{{- end }}

{{/* The number that a quantity of Kubernetes says: "500m" is 0.5, "2Ki" is 2048. */}}
{{- define "gristmill-serving.number" -}}
{{- $text := toString . }}
{{- $unit := regexFind "[A-Za-z]*$" $text }}
{{- $units := dict "" 1.0 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18
      "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 "Pi" 1125899906842624.0 "Ei" 1152921504606846976.0 }}
{{- mulf (trimSuffix $unit $text | float64) (get $units $unit) }}
{{- end }}

{{/* "yes" if the first of two quantities is larger: (list A B). */}}
{{- define "gristmill-serving.larger" -}}
{{- if gt (include "gristmill-serving.number" (index . 0) | float64) (include "gristmill-serving.number" (index . 1) | float64) }}yes{{ end }}
{{- end }}
