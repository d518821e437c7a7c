"""The table of accounts in the platform chart's README follows from the rendered Roles."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.cases.helm import Helm

OF_PODS = {
    "pipeline": "the steps of a run of Kubeflow Pipelines (`cluster.service_account`)",
    "train": "a training step that runs alone, as a launcher",
    "data": "other steps that run alone",
    "trainer": "the pods of a training",
}
RULE = re.compile(
    r"^  # (?P<why>.+)\n  - apiGroups: \[(?P<group>.*)\]\n    resources: \[(?P<resources>.*)\]\n"
    r"(?:    resourceNames: \[\"?(?P<names>.*?)\"?\]\n)?    verbs: \[(?P<verbs>.*)\]$",
    re.MULTILINE,
)


def accounts(rendered: str) -> Iterator[str]:
    """A row for each rule of each account, with the comment above the rule as the reason."""
    yield "| account | of | may | why |"
    yield "| --- | --- | --- | --- |"
    roles = [part for part in rendered.split("\n---\n") if "\nkind: Role\n" in part]
    for account, pods in OF_PODS.items():
        (role,) = [part for part in roles if f"  name: gristmill-{account}\n" in part] or [""]
        rules = list(RULE.finditer(role))
        assert len(rules) == role.count("- apiGroups"), "each rule has its reason in one line above it"
        if not rules:
            yield f"| `RELEASE-{account}` | {pods} | nothing | it asks the API nothing, and has no token to ask with |"
        for index, rule in enumerate(rules):
            who = [f"`RELEASE-{account}`", pods] if index == 0 else ["", ""]
            named = f" `{rule['names']}`" if rule["names"] else ""
            may = f"{rule['verbs']} {rule['resources']}{named}"
            yield f"| {' | '.join(who)} | {may} | {rule['why']} |"


def test_the_table_of_accounts_is_fresh(request):
    helm = Helm("gristmill-platform")
    readme = helm.chart / "README.md"
    begin, end = "<!-- accounts -->\n", "<!-- /accounts -->"
    before, _, rest = readme.read_text().partition(begin)
    fresh = before + begin + "\n".join(accounts(helm.template())) + "\n" + end + rest.partition(end)[2]
    if request.config.getoption("--update-goldens"):
        readme.write_text(fresh)
    assert readme.read_text() == fresh, "the table of accounts is stale: make golden"
