{{/* What accounts must not be able to do; `helm test` tries it. Verb, resource, and API group, namespace or name where they matter. */}}
{{- define "gristmill-platform.forbidden" -}}
- {verb: list, resource: secrets}
{{- $secret := .Values.s3.existingSecret | default "any" }}
{{- /* With one Secret for the store and for the artifacts of KFP, the account `pipeline` may read it. */}}
{{- if ne $secret .Values.rbac.kfpArtifactSecret }}
- {verb: get, resource: secrets, name: {{ $secret | quote }}}
{{- end }}
- {verb: create, resource: pods}
- {verb: delete, resource: pods, name: any}
- {verb: create, resource: pods/exec, name: any}
- {verb: create, resource: serviceaccounts/token, name: {{ include "gristmill-platform.name" (list . "pipeline") }}}
- {verb: create, resource: configmaps}
- {verb: create, resource: rolebindings, group: rbac.authorization.k8s.io, version: v1}
- {verb: create, resource: jobs, group: batch, version: v1}
- {verb: create, resource: trainingruntimes, group: trainer.kubeflow.org, version: v1alpha1}
- {verb: list, resource: pods, namespace: kube-system}
- {verb: list, resource: nodes, namespace: ""}
{{- end }}
