{{/*
The rule that lets training pods reach the S3 server. A Service of the cluster (HOST.NAMESPACE.svc…) is known by its pods, with
any port: a policy sees the pods' port, not the Service's. Any other server is known by its addresses and its port.
*/}}
{{- define "gristmill-platform.s3Egress" -}}
{{- $url := .Values.s3.endpoint | default "https://s3.amazonaws.com" | urlParse }}
{{- $host := regexReplaceAll ":[0-9]+$" $url.host "" }}
{{- $port := regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) | default (eq $url.scheme "https" | ternary "443" "80") }}
{{- $parts := splitList "." $host }}
{{- if and (ge (len $parts) 3) (eq (index $parts 2) "svc") }}
- to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: {{ index $parts 1 | quote }}
      {{- with .Values.networkPolicy.s3PodLabels }}
      podSelector:
        matchLabels:
          {{- toYaml . | nindent 10 }}
      {{- end }}
{{- else }}
- to:
    {{- range .Values.networkPolicy.s3Cidrs }}
    - ipBlock:
        cidr: {{ . | quote }}
    {{- end }}
  ports:
    - {protocol: TCP, port: {{ $port }}}
{{- end }}
{{- end }}
