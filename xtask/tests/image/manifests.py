"""Reads manifests as Kubernetes' own client does, and prints them as JSON.

A field that the types do not know, that has another type or that is missing is an error.
"""

import json
import sys

import yaml
from kubernetes import client

VERSIONS = {"Deployment": "apps/v1", "DaemonSet": "apps/v1"}


class Reply:
    """A reply of the API server, as the client's deserialize() accepts it."""

    def __init__(self, document):
        self.data = json.dumps(document)


def check(api, document):
    kind = document["kind"]
    wanted = VERSIONS.get(kind, "v1")
    if document["apiVersion"] != wanted:
        sys.exit(f"{kind} is of {wanted}, not of {document['apiVersion']}")
    understood = api.sanitize_for_serialization(api.deserialize(Reply(document), "V1" + kind))
    if understood != document:
        sys.exit(f"Kubernetes would understand\n{understood}\nand it says\n{document}")


with open(sys.argv[1], encoding="utf-8") as file:
    documents = list(yaml.safe_load_all(file))
for one in documents:
    check(client.ApiClient(), one)
json.dump(documents, sys.stdout)
