"""The dynamic client: discovery, a definition and its objects, server-side apply, watch."""

from kubernetes import client, config, dynamic
from kubernetes.dynamic.exceptions import ConflictError, NotFoundError, UnprocessibleEntityError

dynamic_client = dynamic.DynamicClient(config.new_client_from_config())
definitions = dynamic_client.resources.get(api_version="apiextensions.k8s.io/v1", kind="CustomResourceDefinition")
definition = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "boats.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "boats", "singular": "boat", "kind": "Boat"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {"oars": {"type": "integer", "minimum": 1, "default": 2}},
                            },
                            "status": {"type": "object", "properties": {"afloat": {"type": "boolean"}}},
                        },
                    }
                },
            }
        ],
    },
}
definitions.create(body=definition)
for event in definitions.watch(name="boats.example.com", timeout=20):
    conditions = (event["raw_object"].get("status") or {}).get("conditions") or []
    if {"Established"} & {c["type"] for c in conditions if c["status"] == "True"}:
        break
else:
    raise AssertionError("the definition was not established")

dynamic_client.resources.invalidate_cache()
boats = dynamic_client.resources.get(api_version="example.com/v1", kind="Boat")
boat = {"apiVersion": "example.com/v1", "kind": "Boat", "metadata": {"name": "ann"}, "spec": {}}
ann = boats.create(body=boat, namespace="default")
assert ann.spec.oars == 2, ann
try:
    boats.create(body={**boat, "metadata": {"name": "eve"}, "spec": {"oars": 0}}, namespace="default")
    raise AssertionError("a boat without oars was taken")
except UnprocessibleEntityError as error:
    assert "spec.oars" in error.summary(), error.summary()

patched = boats.patch(
    body={"spec": {"oars": 4}}, name="ann", namespace="default", content_type="application/merge-patch+json"
)
assert patched.spec.oars == 4 and patched.metadata.generation == 2
status = boats.status.patch(
    body={"status": {"afloat": True}}, name="ann", namespace="default", content_type="application/merge-patch+json"
)
assert status.status.afloat is True and status.metadata.generation == 2

applied = boats.server_side_apply(
    body={**boat, "metadata": {"name": "tom"}, "spec": {"oars": 6}}, namespace="default", field_manager="one"
)
assert applied.spec.oars == 6
try:
    boats.server_side_apply(
        body={**boat, "metadata": {"name": "tom"}, "spec": {"oars": 8}}, namespace="default", field_manager="two"
    )
    raise AssertionError("two owners of one field")
except ConflictError:
    pass

assert [item.metadata.name for item in boats.get(namespace="default").items] == ["ann", "tom"]
boats.delete(name="ann", namespace="default")
try:
    boats.get(name="ann", namespace="default")
    raise AssertionError("it was deleted")
except NotFoundError:
    pass
definitions.delete(name="boats.example.com")
for event in definitions.watch(timeout=20):
    if event["type"] == "DELETED":
        break
else:
    raise AssertionError("the definition did not go")
