{{/* What the pods of `helm test` share. */}}

{{/* A test that failed stays, so that its log can be read; the next `helm test` replaces it. Helm 4 prints the log itself. */}}
{{- define "gristmill-platform.testAnnotations" -}}
helm.sh/hook: test
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
helm.sh/hook-output-log-policy: hook-failed
{{- end }}

{{- define "gristmill-platform.testPod" -}}
enableServiceLinks: false
restartPolicy: Never
activeDeadlineSeconds: 120
securityContext:
  {{- include "gristmill-platform.podSecurity" . | nindent 2 }}
{{- include "gristmill-platform.pullSecrets" . }}
{{- end }}

{{- define "gristmill-platform.testContainer" -}}
image: {{ include "gristmill-platform.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
resources:
  requests:
    cpu: 100m
    memory: 128Mi
  limits:
    memory: 512Mi
securityContext:
  {{- include "gristmill-platform.containerSecurity" . | nindent 2 }}
{{- end }}
