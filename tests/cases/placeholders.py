"""Texts that Kubeflow Pipelines, Argo or Kubernetes replace in what a step is given, each an example of its kind."""

PLACEHOLDERS = (
    "{{$.inputs.parameters['config']}}",
    "{{$.inputs.parameters['x']}}",
    "{{$}}",
    "{{$.outputs.output_file}}",
    "{{$.pipeline_job_name}}",
    "{{channel:task=ingest;name=corpus;type=Artifact;}}",
    "{{workflow.name}}",
    "{{inputs.parameters.x}}",
    "{{=1+1}}",
    "{{{pod.name}}}",
    "\\\\{{$}}",
    "$(KFP_POD_NAME) and $$",
    "/kfp-workspace/x",
)
