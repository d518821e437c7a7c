{{/* Kubernetes quantities: as numbers that can be compared, and as the API server itself writes them. */}}

{{/* The number that a quantity says: "500m" is 0.5, "2Ki" is 2048. */}}
{{- define "gristmill-platform.number" -}}
{{- $text := toString . }}
{{- $unit := regexFind "[A-Za-z]*$" $text }}
{{- $units := dict "" 1.0 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18
      "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 "Pi" 1125899906842624.0 "Ei" 1152921504606846976.0 }}
{{- mulf (trimSuffix $unit $text | float64) (get $units $unit) }}
{{- end }}

{{/* "yes" if the first of two quantities is larger: (list A B). */}}
{{- define "gristmill-platform.larger" -}}
{{- if gt (include "gristmill-platform.number" (index . 0) | float64) (include "gristmill-platform.number" (index . 1) | float64) }}yes{{ end }}
{{- end }}

{{/*
A quantity as Kubernetes writes it: "0.5" is "500m", "1024Mi" is "1Gi". Trainer's controller reads and writes a TrainingRuntime when a
first TrainJob uses it; what it then writes in another way is its own, and the next `helm upgrade` would end in a conflict.
*/}}
{{- define "gristmill-platform.canonical" -}}
{{- $binary := regexMatch "[KMGTPE]i$" (toString .) }}
{{- $step := $binary | ternary 1024 1000 }}
{{- $units := $binary | ternary (list "Ki" "Mi" "Gi" "Ti" "Pi" "Ei") (list "" "k" "M" "G" "T" "P" "E") }}
{{- $amount := mulf (include "gristmill-platform.number" . | float64) ($binary | ternary 1 1000) | int64 }}
{{- $unit := $binary | ternary "" "m" }}
{{- range $units }}
{{- if and $amount (eq (mod $amount $step) 0) }}
{{- $amount = div $amount $step }}
{{- $unit = . }}
{{- else }}
{{- break }}
{{- end }}
{{- end }}
{{- $amount }}{{ if $amount }}{{ $unit }}{{ end }}
{{- end }}

{{/* Requests and limits, each quantity as Kubernetes writes it. */}}
{{- define "gristmill-platform.resources" -}}
{{- range $kind, $quantities := . }}
{{ $kind }}:
  {{- range $resource, $quantity := $quantities }}
  {{ $resource }}: {{ include "gristmill-platform.canonical" $quantity | quote }}
  {{- else }} {}
  {{- end }}
{{- end }}
{{- end }}
