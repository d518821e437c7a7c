{{/*
Rules that let pods reach a server. A Service of the cluster (HOST.NAMESPACE.svc…) is known by its pods, with any port: a policy
sees the pods' port, not the Service's. Any other server is known by its addresses and its port.
*/}}

{{/* The server of a URL: (list URL POD_LABELS ADDRESS_RANGES). */}}
{{- define "gristmill-platform.egressTo" -}}
{{- $url := index . 0 | urlParse }}
{{- $host := regexReplaceAll ":[0-9]+$" $url.host "" }}
{{- $port := regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) | default (eq $url.scheme "https" | ternary "443" "80") }}
{{- $parts := splitList "." $host }}
{{- if and (ge (len $parts) 3) (eq (index $parts 2) "svc") }}
- to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: {{ index $parts 1 | quote }}
      {{- with index . 1 }}
      podSelector:
        matchLabels:
          {{- toYaml . | nindent 10 }}
      {{- end }}
{{- else }}
- to:
    {{- range index . 2 }}
    - ipBlock:
        cidr: {{ . | quote }}
    {{- end }}
  ports:
    - {protocol: TCP, port: {{ $port }}}
{{- end }}
{{- end }}

{{- define "gristmill-platform.s3Egress" -}}
{{- include "gristmill-platform.egressTo" (list (.Values.s3.endpoint | default "https://s3.amazonaws.com") .Values.networkPolicy.s3PodLabels .Values.networkPolicy.s3Cidrs) }}
{{- end }}

{{- define "gristmill-platform.dnsEgress" -}}
- to:
    - namespaceSelector:
        matchLabels:
          {{- toYaml .Values.networkPolicy.dnsNamespaceLabels | nindent 10 }}
  ports:
    # 5353: the port of OpenShift's DNS pods. A policy sees that, not the Service's 53.
    {{- range list 53 5353 }}
    - {protocol: UDP, port: {{ . }}}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
{{- end }}

{{/* A name without dots, and one with a single dot, is a Service: of this namespace, or of the one that it names. */}}
{{- define "gristmill-platform.mlflowEgress" -}}
{{- with .Values.mlflow.uri }}
{{- $host := regexReplaceAll ":[0-9]+$" (urlParse .).host "" }}
{{- $parts := splitList "." $host }}
{{- $whole := . }}
{{- if and (le (len $parts) 2) (ne $host "localhost") }}
{{- $whole = printf "http://%s.%s.svc" (index $parts 0) (eq (len $parts) 2 | ternary (last $parts) $.Release.Namespace) }}
{{- end }}
{{- include "gristmill-platform.egressTo" (list $whole dict (list "0.0.0.0/0" "::/0")) }}
{{- end }}
{{- end }}

{{/*
Kubeflow Pipelines' API (8888 and 8887), its metadata (8080) and its object store (9000, 8333), and nothing else in that
namespace: not its database.
*/}}
{{- define "gristmill-platform.kfpEgress" -}}
- to:
    - namespaceSelector:
        matchLabels:
          {{- toYaml .Values.pipeline.kfpNamespaceLabels | nindent 10 }}
  ports:
    {{- range list 8887 8888 8080 9000 8333 }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
{{- end }}

{{/* The API server is no pod: it has addresses of nodes, or of the cloud. */}}
{{- define "gristmill-platform.apiServerEgress" -}}
{{- $slices := lookup "discovery.k8s.io/v1" "EndpointSlice" "default" "kubernetes" }}
{{- $cidrs := .Values.networkPolicy.apiServerCidrs }}
{{- $ports := list 443 6443 }}
{{- if and (not $cidrs) $slices }}
{{- range $slices.endpoints }}
{{- range .addresses }}
{{- $cidrs = append $cidrs (printf "%s/%s" . (contains ":" . | ternary "128" "32")) }}
{{- end }}
{{- end }}
{{- $ports = list 443 }}
{{- range $slices.ports }}
{{- $ports = append $ports (int64 .port) }}
{{- end }}
{{- end }}
- to:
    {{- range $cidrs | default (list "0.0.0.0/0" "::/0") }}
    - ipBlock:
        cidr: {{ . | quote }}
    {{- end }}
  ports:
    {{- range uniq $ports }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
{{- end }}
