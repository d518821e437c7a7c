{{/* Names, labels and the image. */}}

{{- define "gristmill-serving.fullname" -}}
{{ .Values.fullnameOverride | default .Release.Name }}
{{- end }}

{{/*
Name of an object other than the Deployment: FULLNAME-SUFFIX, from (list $ SUFFIX). Release names go to 53 characters and names end as
label values and host names, which end at 63: beyond that the middle gives way to a hash, so that two long names stay two names.
*/}}
{{- define "gristmill-serving.name" -}}
{{- $fullname := include "gristmill-serving.fullname" (index . 0) }}
{{- $suffix := index . 1 }}
{{- $name := printf "%s-%s" $fullname $suffix }}
{{- if gt (len $name) 63 }}
{{- $room := max 1 (sub 53 (len $suffix)) | int }}
{{- $name = printf "%s-%s-%s" (trunc $room $fullname | trimSuffix "-") (sha256sum $name | trunc 8) $suffix }}
{{- end }}
{{- $name }}
{{- end }}

{{/* Labels that select the release's own pods: (list $ COMPONENT). */}}
{{- define "gristmill-serving.selector" -}}
app.kubernetes.io/name: gristmill-serving
app.kubernetes.io/instance: {{ (index . 0).Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* All labels of an object: (list $ COMPONENT). */}}
{{- define "gristmill-serving.labels" -}}
{{- $root := index . 0 }}
{{- include "gristmill-serving.podLabels" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ $root.Chart.Name }}-{{ $root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Labels of a pod: (list $ COMPONENT). No version of the chart, so that a new chart with the same pods replaces none. */}}
{{- define "gristmill-serving.podLabels" -}}
{{- include "gristmill-serving.selector" . }}
app.kubernetes.io/part-of: gristmill
{{- with (index . 0).Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "gristmill-serving.image" -}}
{{- if .Values.image.digest }}
{{- .Values.image.repository }}@{{ .Values.image.digest }}
{{- else }}
{{- .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{/* URI of the served repository; without one, that of the tiny model in the image. */}}
{{- define "gristmill-serving.modelUri" -}}
{{ .Values.model.uri | default "file:///opt/gristmill/tiny-model" }}
{{- end }}
