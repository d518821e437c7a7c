{{/* What all pods of this chart share: the PodSecurity level `restricted`, and a root filesystem that nobody writes. */}}

{{/* Start of a pod's spec, up to what differs. */}}
{{- define "gristmill-serving.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 1000
  runAsGroup: 1000
  fsGroup: 1000
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . | quote }}
{{- end }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
{{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
{{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
{{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Start of a container: (list $ NAME). */}}
{{- define "gristmill-serving.container" -}}
{{- $root := index . 0 -}}
name: {{ index . 1 }}
image: {{ include "gristmill-serving.image" $root }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
# The last lines of a container that fails, where `kubectl describe pod` shows them.
terminationMessagePolicy: FallbackToLogsOnError
{{- end }}

{{/*
Where the store is, and the Secret with its keys: (list $ OPTIONAL). With optional keys the trial's container starts without them,
and says so in its log. A serving pod without them waits, and its events name the Secret. AWS's own tools read AWS_REGION; boto3 reads
AWS_DEFAULT_REGION.
*/}}
{{- define "gristmill-serving.s3Environment" -}}
{{- $optional := index . 1 }}
{{- with (index . 0).Values.s3 }}
{{- if .endpoint }}
- name: AWS_ENDPOINT_URL
  value: {{ .endpoint | quote }}
{{- end }}
- name: AWS_REGION
  value: {{ .region | quote }}
- name: AWS_DEFAULT_REGION
  value: {{ .region | quote }}
{{- $secret := .existingSecret }}
{{- if $secret }}
{{- range list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
- name: {{ . }}
  valueFrom:
    secretKeyRef:
      name: {{ $secret | quote }}
      key: {{ . }}
{{- if $optional }}
      optional: true
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Threads of the model, for the container NAME: (list $ NAME RESOURCES). If its resources name no CPUs, the model chooses. */}}
{{- define "gristmill-serving.threads" -}}
{{- $root := index . 0 }}
{{- $resources := index . 2 }}
{{- $source := "" }}
{{- if ($resources.limits).cpu }}
{{- $source = "limits.cpu" }}
{{- else if ($resources.requests).cpu }}
{{- $source = "requests.cpu" }}
{{- end }}
{{- if not (kindIs "invalid" $root.Values.threads) }}
- name: GRISTMILL_CPUS
  value: {{ $root.Values.threads | quote }}
{{- else if $source }}
- name: GRISTMILL_CPUS
  valueFrom:
    resourceFieldRef:
      containerName: {{ index . 1 }}
      resource: {{ $source }}
      divisor: "1"
{{- end }}
{{- end }}

{{/* ONNX Runtime keeps a device id under HOME and reports to its makers unless this is set. Another image may not set it. */}}
{{- define "gristmill-serving.noTelemetry" -}}
- name: ORT_DISABLE_TELEMETRY
  value: "1"
{{- end }}

{{/* The fewest serving pods. */}}
{{- define "gristmill-serving.fewestPods" -}}
{{ ternary .Values.autoscaling.minReplicas .Values.replicas .Values.autoscaling.enabled | int }}
{{- end }}

{{/* Volumes that a Triton needs. */}}
{{- define "gristmill-serving.volumes" -}}
- name: models
  emptyDir:
    sizeLimit: {{ .Values.model.volumeSize }}
- name: tmp
  emptyDir: {}
- name: shm
  emptyDir:
    medium: Memory
    sizeLimit: {{ .Values.sharedMemory }}
{{- end }}

{{/* To whom pods may talk: DNS, and with a model in S3 the port of its server. */}}
{{- define "gristmill-serving.egress" -}}
- ports:
    # 5353: the port of OpenShift's DNS pods. A policy sees that, not the Service's 53.
    {{- range list 53 5353 }}
    - {protocol: UDP, port: {{ . }}}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
{{- if hasPrefix "s3://" .Values.model.uri }}
{{- $url := urlParse (.Values.s3.endpoint | default "https://s3.amazonaws.com") }}
- ports:
    - protocol: TCP
      port: {{ regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (ternary "80" "443" (eq $url.scheme "http")) }}
{{- end }}
{{- with .Values.networkPolicy.extraEgress }}
{{ toYaml . }}
{{- end }}
{{- end }}
