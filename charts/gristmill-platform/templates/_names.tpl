{{/* Names, labels and the image. */}}

{{- define "gristmill-platform.fullname" -}}
{{ .Values.fullnameOverride | default .Release.Name }}
{{- end }}

{{/*
Name of an object: FULLNAME-SUFFIX, from (list $ SUFFIX). Release names go to 53 characters and names end as label values and
host names, which end at 63: beyond that the middle gives way to a hash, so that two long names stay two names.
*/}}
{{- define "gristmill-platform.name" -}}
{{- $fullname := include "gristmill-platform.fullname" (index . 0) }}
{{- $suffix := index . 1 }}
{{- $name := printf "%s-%s" $fullname $suffix }}
{{- if gt (len $name) 63 }}
{{- $room := max 1 (sub 53 (len $suffix)) | int }}
{{- $name = printf "%s-%s-%s" (trunc $room $fullname | trimSuffix "-") (sha256sum $name | trunc 8) $suffix }}
{{- end }}
{{- $name }}
{{- end }}

{{/* Labels that select the release's own objects: (list $ COMPONENT). */}}
{{- define "gristmill-platform.selector" -}}
app.kubernetes.io/name: gristmill
app.kubernetes.io/instance: {{ (index . 0).Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* All labels of an object: (list $ COMPONENT). */}}
{{- define "gristmill-platform.labels" -}}
{{- $root := index . 0 }}
{{- include "gristmill-platform.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: gristmill
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ $root.Chart.Name }}-{{ $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "gristmill-platform.image" -}}
{{- if .Values.image.digest }}
{{- .Values.image.repository }}@{{ .Values.image.digest }}
{{- else }}
{{- .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{/* A pool, with the keys that it lacks from poolDefaults, as YAML: (list $ POOL). Sprig's mergeOverwrite takes 0 and "" for missing. */}}
{{- define "gristmill-platform.pool" -}}
{{- $pool := index . 1 | default dict }}
{{- $merged := dict }}
{{- range $key, $value := (index . 0).Values.poolDefaults }}
{{- $_ := set $merged $key (hasKey $pool $key | ternary (get $pool $key) $value) }}
{{- end }}
{{- toYaml $merged }}
{{- end }}

{{/* Objects with another name than the steps of a submitted run look for (components/environment.py; a test compares), a line each. */}}
{{- define "gristmill-platform.renamed" -}}
{{- if ne (include "gristmill-platform.fullname" .) "gristmill" }}
fullnameOverride: gristmill   # ConfigMap gristmill-environment, here {{ include "gristmill-platform.name" (list . "environment") }}
{{- end }}
{{- if not (has .Values.s3.existingSecret (list "" "gristmill-s3")) }}
s3.existingSecret: gristmill-s3   # here {{ .Values.s3.existingSecret }}
{{- end }}
{{- if not (has .Values.mlflow.existingSecret (list "" "gristmill-mlflow")) }}
mlflow.existingSecret: gristmill-mlflow   # here {{ .Values.mlflow.existingSecret }}
{{- end }}
{{- end }}
