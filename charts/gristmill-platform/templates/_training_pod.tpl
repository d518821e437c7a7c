{{/*
When a training starts again, from a pool. The API server takes no change of it (see gristmill-platform.checkRestarts). A rule's name
has no dash: the TrainingRuntime would be taken, and each of its TrainJobs refused by JobSet without a word in its status.
*/}}
{{- define "gristmill-platform.failurePolicy" -}}
maxRestarts: {{ .maxRestarts | int64 }}
rules:
  # An error that would come again, or a deadline, ends the training; anything else (a crash, a lost node, a checkpoint
  # written on notice) starts it again from its checkpoint.
  - name: finalError
    action: FailJobSet
    onJobFailureReasons: [PodFailurePolicy, DeadlineExceeded]
{{- end }}

{{/* The pod of a training: (list $ POOL). */}}
{{- define "gristmill-platform.trainingPod" -}}
{{- $root := index . 0 }}
{{- $pool := index . 1 }}
serviceAccountName: {{ include "gristmill-platform.name" (list $root "trainer") }}
automountServiceAccountToken: false
# A training does not need the variables of every Service in the namespace.
enableServiceLinks: false
restartPolicy: Never
# The kernel drops a SIGTERM for a first process that has no handler for it. Python has none yet while it starts: a pod that is
# stopped then would train until the end of its grace period. So the first process is that of the pause container.
shareProcessNamespace: true
terminationGracePeriodSeconds: {{ $pool.terminationGracePeriodSeconds | int64 }}
securityContext:
  {{- include "gristmill-platform.podSecurity" . | nindent 2 }}
{{- include "gristmill-platform.pullSecrets" $root }}
{{- with $pool.nodeSelector }}
{{ dict "nodeSelector" . | toYaml }}
{{- end }}
{{- include "gristmill-platform.tolerations" $pool }}
{{- include "gristmill-platform.affinity" (list $root $pool) }}
{{- range $key := list "priorityClassName" "runtimeClassName" }}
{{- with get $pool $key }}
{{ dict $key . | toYaml }}
{{- end }}
{{- end }}
containers:
  - name: node
    image: {{ include "gristmill-platform.image" $root }}
    imagePullPolicy: {{ $root.Values.image.pullPolicy }}
    env:
      {{- include "gristmill-platform.s3Environment" $root | trim | nindent 6 }}
      # The threads that the pod's ranks share.
      - name: GRISTMILL_CPUS
        valueFrom:
          resourceFieldRef:
            containerName: node
            resource: requests.cpu
            # As the controller writes it back: see gristmill-platform.canonical.
            divisor: "0"
      - name: GRISTMILL_CACHE
        value: /cache
      {{- with include "gristmill-platform.ncclEnvironment" $pool | trim }}
      {{- . | nindent 6 }}
      {{- end }}
      {{- with $pool.env }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    resources:
      {{- include "gristmill-platform.resources" $pool.resources | trim | nindent 6 }}
    securityContext:
      {{- include "gristmill-platform.containerSecurity" . | nindent 6 }}
    # The trainer writes its last words itself; if it could not, the end of its log takes their place.
    terminationMessagePolicy: FallbackToLogsOnError
    volumeMounts:
      - name: tmp
        mountPath: /tmp
      - name: cache
        mountPath: /cache
      - name: shm
        mountPath: /dev/shm
      {{- with $pool.volumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
volumes:
  - name: tmp
    emptyDir: {}
  - name: cache
    emptyDir:
      {{- if $pool.cacheSize }}
      sizeLimit: {{ include "gristmill-platform.canonical" $pool.cacheSize | quote }}
      {{- else }} {}
      {{- end }}
  - name: shm
    emptyDir:
      medium: Memory
      sizeLimit: {{ include "gristmill-platform.canonical" $pool.sharedMemory | quote }}
  {{- with $pool.volumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
