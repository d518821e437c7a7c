{{/* What all pods of this chart share: the PodSecurity level `restricted`, and a root filesystem that nobody writes. */}}

{{- define "gristmill-platform.podSecurity" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
fsGroup: 1000
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "gristmill-platform.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "gristmill-platform.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* Where the store is, and the Secret with its keys. AWS's own tools read AWS_REGION; boto3 reads AWS_DEFAULT_REGION. */}}
{{- define "gristmill-platform.s3Environment" -}}
{{- with .Values.s3 }}
{{- if .endpoint }}
- name: AWS_ENDPOINT_URL
  value: {{ .endpoint | quote }}
{{- end }}
- name: AWS_REGION
  value: {{ .region | quote }}
- name: AWS_DEFAULT_REGION
  value: {{ .region | quote }}
{{- with .existingSecret }}
{{- range list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
- name: {{ . }}
  valueFrom:
    secretKeyRef:
      name: {{ $.Values.s3.existingSecret | quote }}
      key: {{ . }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
