"""Whether a training can ever fit: its pods against the quotas of a queue and of its cohort."""

from __future__ import annotations

from typing import Any

import pytest

from llm.cluster.queues.capacity import Shortage, all_written, asked_for, shortages

Json = dict[str, Any]


def pool(requests: Json | None = None, limits: Json | None = None) -> Json:
    container = {"name": "node", "resources": {"requests": requests, "limits": limits}}
    job = {"template": {"spec": {"template": {"spec": {"containers": [container]}}}}}
    return {"spec": {"template": {"spec": {"replicatedJobs": [job]}}}}


def queue(name: str, cohort: str | None = None, **flavors: Json) -> Json:
    """A ClusterQueue; each flavor has the quotas of its resources, as `{"cpu": (nominal, borrowing, lending)}`."""
    names = sorted({resource for quotas in flavors.values() for resource in quotas})
    keys = ("nominalQuota", "borrowingLimit", "lendingLimit")
    listed = [
        {"name": flavor, "resources": [
            {"name": one, **{key: value for key, value in zip(keys, quotas[one], strict=False) if value is not None}}
            for one in names
        ]}
        for flavor, quotas in flavors.items()
    ]  # fmt: skip
    spec = {"resourceGroups": [{"coveredResources": names, "flavors": listed}]}
    return {"metadata": {"name": name}, "spec": spec | ({"cohortName": cohort} if cohort else {})}


def cohort(name: str, parent: str | None = None, **flavors: Json) -> Json:
    spec = queue(name, **flavors)["spec"] if flavors else {}
    return {"metadata": {"name": name}, "spec": spec | ({"parentName": parent} if parent else {})}


def test_all_pods_ask_together_and_a_limit_without_a_request_counts():
    asked = asked_for(pool({"cpu": "500m", "memory": "2Gi"}, {"memory": "4Gi", "nvidia.com/gpu": 8}), 3)
    assert asked == {"cpu": 1.5, "memory": 3 * 2 * 2**30, "nvidia.com/gpu": 24}
    assert all_written(asked.items()) == "cpu 1.5, memory 6 GiB, nvidia.com/gpu 24"
    assert asked_for(pool(), 2) == {}


ALONE = queue("a", all={"cpu": ("4",), "memory": ("8Gi",)})
TWO = queue("a", small={"cpu": (2,), "gpu": (8,)}, large={"cpu": (8,), "gpu": (1,)})


@pytest.mark.parametrize(
    ("asked", "of", "others", "cohorts", "most"),
    [
        ({"cpu": 4, "memory": 2**33}, ALONE, [], [], []),
        ({"cpu": 4.001}, ALONE, [], [], [4]),
        ({"memory": 2**33 + 1}, ALONE, [], [], [2**33]),
        ({"gpu": 9}, ALONE, [], [], []),  # Kueue can be set to ignore a resource without a quota
        ({"cpu": 3, "gpu": 4}, TWO, [], [], [2, 1]),  # one flavor has the CPUs and another the GPUs
        ({"cpu": 8, "gpu": 1}, TWO, [], [], []),
        ({"cpu": 6}, queue("a", "c", all={"cpu": (4,)}), [queue("b", "c", all={"cpu": (2,)})], [], []),
        ({"cpu": 7}, queue("a", "c", all={"cpu": (4,)}), [queue("b", "c", all={"cpu": (2,)})], [], [6]),
        ({"cpu": 6}, queue("a", "c", all={"cpu": (4, 1)}), [queue("b", "c", all={"cpu": (2,)})], [], [5]),
        ({"cpu": 6}, queue("a", "c", all={"cpu": (4,)}), [queue("b", "c", all={"cpu": (2, None, 1)})], [], [5]),
        ({"cpu": 6}, queue("a", "c", all={"cpu": (4,)}), [queue("b", "other", all={"cpu": (2,)})], [], [4]),
        ({"cpu": 6}, queue("a", "c", all={"cpu": (4,)}), [queue("b", "c", other={"cpu": (2,)})], [], [4]),
        ({"cpu": 6}, queue("a", "c", all={"cpu": (4,)}), [], [cohort("c", all={"cpu": (2,)})], []),
        ({"cpu": 6}, queue("a", "c", all={"cpu": (4,)}), [queue("b", "d", all={"cpu": (2,)})],
         [cohort("c", "root"), cohort("d", "root")], []),
        ({"cpu": 7}, queue("a", "c", all={"cpu": (4,)}), [queue("b", "d", all={"cpu": (2,)})],
         [cohort("c", "d"), cohort("d", "c")], [6]),
        ({"cpu": 99}, queue("a", "c", all={"cpu": (4,)}), [], None, []),  # the cohorts may not be read
        ({"cpu": 99}, queue("a", "c", all={"cpu": (4, 2)}), [], None, [6]),
    ],
)  # fmt: skip
def test_a_request_never_fits_if_each_flavor_is_short(
    asked: dict[str, float], of: Json, others: list[Json], cohorts: list[Json] | None, most: list[float]
):
    assert [one.most for one in shortages(asked, of, [of, *others], cohorts)] == most


def test_a_shortage_names_flavor_resource_and_quota():
    of = queue("a", "c", all={"cpu": (4, 1)})
    (short,) = shortages({"cpu": 8}, of, [of, queue("b", "c", all={"cpu": (9,)})], [])
    assert short == Shortage("all", "cpu", asked=8, most=5, nominal=4)
