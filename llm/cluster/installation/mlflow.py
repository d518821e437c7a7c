"""Whether the MLflow server answers and takes the login: the pod `test-mlflow` of `helm test`.

Reads MLFLOW_TRACKING_URI, MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import urllib.error
import urllib.request

from llm.process.reach import await_route

HINTS = {
    401: "It wants another login: see mlflow.existingSecret.",
    403: "It refuses this account, or (MLflow 3.5 and newer) this host name: start it with --allowed-hosts.",
    404: "There is no MLflow API at this address: see mlflow.uri.",
}


def main() -> None:
    """List one experiment; exit code 1 and a message if that fails."""
    uri = os.environ["MLFLOW_TRACKING_URI"].rstrip("/")
    await_route(uri)
    request = urllib.request.Request(f"{uri}/api/2.0/mlflow/experiments/search?max_results=1")  # noqa: S310
    if user := os.environ.get("MLFLOW_TRACKING_USERNAME"):
        login = f"{user}:{os.environ['MLFLOW_TRACKING_PASSWORD']}"
        request.add_header("Authorization", "Basic " + base64.b64encode(login.encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310  (the schema allows http and https only)
            json.load(answer)
    except urllib.error.HTTPError as error:
        sys.exit(f"error: MLflow at {uri} answered {error.code} {error.reason}\n  {HINTS.get(error.code, '')}")
    except (OSError, ValueError) as error:
        sys.exit(f"error: MLflow at {uri} does not answer: {error}\n  See mlflow.uri: it is the address that pods see.")
    sys.stdout.write(f"MLflow at {uri} answers\n")


if __name__ == "__main__":
    main()
