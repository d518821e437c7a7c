"""Libraries that report their use to their makers, and the environment variables that stop them.

`import llm` sets the variables, so they are there before any of these libraries is imported, and every child process
inherits them. The images and the charts set them too, for a server that does not start with our code; a test compares.
Checked in the pinned versions: deepspeed, hydra and kfp report nothing.
"""

from __future__ import annotations

import os

OFF = {
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime and onnxruntime-genai: else a device id under HOME, and events by https
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GX_ANALYTICS_ENABLED": "false",  # Great Expectations
    "HF_HUB_DISABLE_TELEMETRY": "1",  # transformers: what it adds to its requests
    "DO_NOT_TRACK": "true",  # for other libraries; mlflow accepts only `true`
}


def switch_off() -> None:
    """Set the variables for this process and its children, whatever they were."""
    os.environ.update(OFF)
