{{/*
Values as the templates read them. No key is required: a user unsets one with null, and `helm upgrade --reuse-values` keeps the
values of an earlier chart, which lack the newer keys. Every template calls this first, since Helm promises no order of templates.
*/}}
{{- define "gristmill-platform.complete" -}}
{{- include "gristmill-platform.dropNulls" .Values }}
{{- $keys := .Files.Get "files/keys.yaml" | fromYaml }}
{{- range $path, $value := $keys.unset }}
{{- $section := include "gristmill-platform.section" $path }}
{{- if and $section (not (hasKey $.Values $section)) }}
{{- $_ := set $.Values $section (dict) }}
{{- end }}
{{- $place := $section | empty | ternary $.Values (get $.Values $section) }}
{{- $name := splitList "." $path | last }}
{{- if not (hasKey $place $name) }}
{{- $_ := set $place $name $value }}
{{- end }}
{{- end }}
{{- range $path, $remedy := $keys.gone }}
{{- if hasKey (get $.Values (include "gristmill-platform.section" $path) | default dict) (splitList "." $path | last) }}
{{- fail (printf "\nerror: %s is no longer a value of this chart. %s\n  Leave it out. A release of an earlier chart is upgraded with --reset-then-reuse-values, not with --reuse-values; if you had set\n  this key yourself, add --set %s=null\n" $path $remedy $path) }}
{{- end }}
{{- end }}
{{- end }}

{{/* The section of a path: "s3" of "s3.region", nothing of "replicas". */}}
{{- define "gristmill-platform.section" -}}
{{- if contains "." . }}{{ splitList "." . | first }}{{ end }}
{{- end }}

{{/* Take away the keys of a map that are null, at any depth. Helm itself does it only for keys of the chart's values.yaml. */}}
{{- define "gristmill-platform.dropNulls" -}}
{{- $map := . }}
{{- range $key, $value := $map }}
{{- if kindIs "invalid" $value }}
{{- $_ := unset $map $key }}
{{- else if kindIs "map" $value }}
{{- include "gristmill-platform.dropNulls" $value }}
{{- end }}
{{- end }}
{{- end }}
