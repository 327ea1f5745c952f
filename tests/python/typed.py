"""Typed objects: create, read, list, watch, patch, replace, apply, delete, and what goes wrong."""

import json
import threading

from kubernetes import client, config, watch
from kubernetes.client.rest import ApiException

config.load_kube_config()
core, apps = client.CoreV1Api(), client.AppsV1Api()
NAMESPACE = "default"


def refused(code, reason, call, *arguments, **options):
    try:
        call(*arguments, **options)
    except ApiException as error:
        assert error.status == code, error
        assert f'"reason":"{reason}"' in error.body, error.body
        return error
    raise AssertionError(f"{reason} was expected")


assert client.VersionApi().get_code().major == "1"
assert "apps" in [group.name for group in client.ApisApi().get_api_versions().groups]

# Create and read
settings = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="settings", labels={"app": "web"}), data={"a": "b"})
created = core.create_namespaced_config_map(NAMESPACE, settings)
assert created.metadata.uid and created.data == {"a": "b"}
assert core.read_namespaced_config_map("settings", NAMESPACE).metadata.uid == created.metadata.uid
refused(409, "AlreadyExists", core.create_namespaced_config_map, NAMESPACE, settings)
refused(404, "NotFound", core.read_namespaced_config_map, "nothing", NAMESPACE)
bad = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="Not Good"))
refused(422, "Invalid", core.create_namespaced_config_map, NAMESPACE, bad)

# Watch from where a list ended, until an event that says enough
listed = core.list_namespaced_config_map(NAMESPACE, label_selector="app=web")
assert [item.metadata.name for item in listed.items] == ["settings"]


def change():
    core.patch_namespaced_config_map("settings", NAMESPACE, {"data": {"c": "d"}})
    core.delete_namespaced_config_map("settings", NAMESPACE)


changing = threading.Thread(target=change)
changing.start()
events = []
watcher = watch.Watch()
for event in watcher.stream(
    core.list_namespaced_config_map,
    NAMESPACE,
    label_selector="app=web",
    resource_version=listed.metadata.resource_version,
    timeout_seconds=20,
):
    events.append((event["type"], event["object"].data))
    if event["type"] == "DELETED":
        watcher.stop()
changing.join()
both = {"a": "b", "c": "d"}
assert events == [("MODIFIED", both), ("DELETED", both)], events

# A deployment: strategic patch by default, scale, status, replace with a stale version
container = client.V1Container(name="web", image="nginx", resources=client.V1ResourceRequirements(requests={"cpu": "1"}))
template = client.V1PodTemplateSpec(
    metadata=client.V1ObjectMeta(labels={"app": "web"}), spec=client.V1PodSpec(containers=[container])
)
selector = client.V1LabelSelector(match_labels={"app": "web"})
web = client.V1Deployment(
    metadata=client.V1ObjectMeta(name="web"),
    spec=client.V1DeploymentSpec(replicas=1, selector=selector, template=template),
)
web = apps.create_namespaced_deployment(NAMESPACE, web)
assert web.spec.strategy.type == "RollingUpdate" and web.metadata.generation == 1
side = {"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "busybox"}]}}}}
patched = apps.patch_namespaced_deployment("web", NAMESPACE, side)
assert sorted(c.name for c in patched.spec.template.spec.containers) == ["side", "web"]
scale = apps.read_namespaced_deployment_scale("web", NAMESPACE)
scale.spec.replicas = 3
apps.replace_namespaced_deployment_scale("web", NAMESPACE, scale)
status = {"status": {"replicas": 3, "observedGeneration": 3}}
assert apps.patch_namespaced_deployment_status("web", NAMESPACE, status).status.replicas == 3
web.spec.replicas = 9
refused(409, "Conflict", apps.replace_namespaced_deployment, "web", NAMESPACE, web)
assert apps.read_namespaced_deployment("web", NAMESPACE).spec.replicas == 3

# Pages
for number in range(7):
    core.create_namespaced_secret(NAMESPACE, client.V1Secret(metadata=client.V1ObjectMeta(name=f"s{number}")))
names, token = [], None
while token != "":
    page = core.list_namespaced_secret(NAMESPACE, limit=3, _continue=token)
    assert len(page.items) <= 3
    names += [item.metadata.name for item in page.items]
    token = page.metadata._continue or ""
assert names == [f"s{number}" for number in range(7)], names

# Server-side apply: owners, a conflict, force
body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owned"}, "data": {"colour": "blue"}}
apply = {"_content_type": "application/apply-patch+yaml"}
core.patch_namespaced_config_map("owned", NAMESPACE, body, field_manager="one", **apply)
body["data"]["colour"] = "red"
refused(409, "Conflict", core.patch_namespaced_config_map, "owned", NAMESPACE, body, field_manager="two", **apply)
owned = core.patch_namespaced_config_map("owned", NAMESPACE, body, field_manager="two", force=True, **apply)
assert owned.data == {"colour": "red"}
assert {entry.manager for entry in owned.metadata.managed_fields} == {"one", "two"} or len(
    owned.metadata.managed_fields
) == 1, owned.metadata.managed_fields

# Deletion: options, collections
gone = apps.delete_namespaced_deployment("web", NAMESPACE, propagation_policy="Background")
assert gone.status == "Success", gone
core.delete_collection_namespaced_secret(NAMESPACE)
assert core.list_namespaced_secret(NAMESPACE).items == []

# What the user may do
review = client.V1SelfSubjectAccessReview(
    spec=client.V1SelfSubjectAccessReviewSpec(
        resource_attributes=client.V1ResourceAttributes(verb="delete", resource="pods", namespace=NAMESPACE)
    )
)
assert client.AuthorizationV1Api().create_self_subject_access_review(review).status.allowed

# What a deletion of many answers is a list like any other
core.create_namespaced_config_map(NAMESPACE, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="one", labels={"of": "many"})))
answer = core.delete_collection_namespaced_config_map(NAMESPACE, label_selector="of=many", _preload_content=False)
gone = json.loads(answer.data)
assert gone["kind"] == "ConfigMapList" and [item["metadata"]["name"] for item in gone["items"]] == ["one"], gone
assert "kind" not in gone["items"][0] and "apiVersion" not in gone["items"][0], gone
