"""What webhooks are shown, and what they may change; `sys.argv[1]` holds a serving certificate and its authority."""

import base64
import http.server
import json
import re
import ssl
import sys
import threading

from kubernetes import client, config
from kubernetes.client.rest import ApiException

config.load_kube_config()
core, registration = client.CoreV1Api(), client.AdmissionregistrationV1Api()
NAMESPACE, PKI = "default", sys.argv[1]
seen, replies = [], {}


def wait_until_told(name):
    """Returns once the server has counted a refusal by this webhook."""
    refusal = re.compile(rf'apiserver_admission_webhook_rejection_count{{[^}}]*name="{name}.example.com"')
    while not refusal.search(core.api_client.call_api("/metrics", "GET", response_types_map={200: "str"})[0]):
        pass


class Hook(http.server.BaseHTTPRequestHandler):
    """Notes what it is asked, and answers what `replies` says for its path."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))["request"]
        name = self.path.split("?")[0].strip("/")
        seen.append((name, request))
        response = {"uid": request["uid"], "allowed": True}
        reply = replies.get(name, {})
        if "after" in reply:
            wait_until_told(reply["after"])
        if "patch" in reply:
            response["patchType"] = "JSONPatch"
            response["patch"] = base64.b64encode(json.dumps(reply["patch"]).encode()).decode()
        if "refuse" in reply:
            response |= {"allowed": False, "status": {"message": reply["refuse"]}}
        review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
        body = json.dumps(review).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(f"{PKI}/apiserver.crt", f"{PKI}/apiserver.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()


def webhook(name):
    return {
        "name": f"{name}.example.com",
        "clientConfig": {
            "url": f"https://localhost:{server.server_port}/{name}",
            "caBundle": base64.b64encode(open(f"{PKI}/ca.crt", "rb").read()).decode(),
        },
        "rules": [
            {
                "apiGroups": [""],
                "apiVersions": ["v1"],
                "operations": ["*"],
                "resources": ["configmaps", "pods/binding", "pods/eviction", "pods"],
            }
        ],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}},
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
    }


registration.create_mutating_webhook_configuration({"metadata": {"name": "m"}, "webhooks": [webhook("mutating")]})
registration.create_validating_webhook_configuration(
    {"metadata": {"name": "v"}, "webhooks": [webhook("first"), webhook("second")]}
)


def asked(call, *arguments, **options):
    """The requests of the mutating and of one validating webhook."""
    seen.clear()
    call(*arguments, **options)
    return [
        next(request for name, request in seen if name == wanted) for wanted in ("mutating", "second")
    ]


def refused(code, message, call, *arguments, **options):
    try:
        call(*arguments, **options)
    except ApiException as error:
        found = json.loads(error.body)["message"]
        assert (error.status, found) == (code, message), (error.status, found)
        return
    raise AssertionError(f"{message} was expected")


def config_map(name, **data):
    return {"metadata": {"name": name}, "data": data}


# A new object is shown to mutating webhooks as it was sent, to validating ones as it will be.
SYSTEM = {"uid", "creationTimestamp", "resourceVersion"}
sent = {"metadata": {"generateName": "map-", "uid": "mine"}, "data": {"a": "1"}}
before, after = asked(core.create_namespaced_config_map, NAMESPACE, sent)
assert not SYSTEM & set(before["object"]["metadata"]) and "name" not in before, before
assert after["name"].startswith("map-") and after["object"]["metadata"]["uid"] != "mine", after
assert before["options"]["kind"] == "CreateOptions", before
core.create_namespaced_config_map(NAMESPACE, config_map("one", a="1"))

# So is what replaces another; a patch is an update; a write that changes nothing is told of.
before, after = asked(core.replace_namespaced_config_map, "one", NAMESPACE, config_map("one", a="2"))
assert not SYSTEM & set(before["object"]["metadata"]) and "uid" in after["object"]["metadata"], before
for data in ({"a": "3"}, {"a": "3"}):
    before, after = asked(core.patch_namespaced_config_map, "one", NAMESPACE, {"data": data})
    assert before["operation"] == "UPDATE" and before["options"]["kind"] == "UpdateOptions", before
    assert SYSTEM < set(before["object"]["metadata"]), before
deleted, _ = asked(
    core.delete_namespaced_config_map, "one", NAMESPACE, body={"propagationPolicy": "Background"}
)
assert deleted["options"]["propagationPolicy"] == "Background", deleted

# Bindings and evictions are told of as what they are, not as what becomes of the pod.
pod = {"metadata": {"name": "pod"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
core.create_namespaced_pod(NAMESPACE, pod)
binding = {"metadata": {"name": "pod"}, "target": {"kind": "Node", "name": "node"}}
asked(core.create_namespaced_pod_binding, "pod", NAMESPACE, binding, _preload_content=False)
assert {request["kind"]["kind"] for _, request in seen} == {"Binding"}, seen
asked(core.create_namespaced_pod_eviction, "pod", NAMESPACE, {"metadata": {"name": "pod"}})
assert {request["kind"]["kind"] for _, request in seen} == {"Eviction"}, seen

# What a webhook makes of an object is still to be that object.
NOT_HERE = "the namespace of the provided object does not match the namespace sent on the request"
MODIFIED = (
    'Operation cannot be fulfilled on configmaps "two": the object has been modified; '
    "please apply your changes to the latest version and try again"
)
NO_KIND = (
    'Internal error occurred: no kind "ConfigMap" is registered for version "v2" '
    'in scheme "pkg/api/legacyscheme/scheme.go:30"'
)
core.create_namespaced_config_map(NAMESPACE, config_map("two"))
for path, value, code, message in [
    ("/metadata/namespace", "kube-system", 400, NOT_HERE),
    ("/apiVersion", "v2", 500, NO_KIND),
    ("/metadata/resourceVersion", "1", 409, MODIFIED),
]:
    replies["mutating"] = {"patch": [{"op": "add", "path": path, "value": value}]}
    refused(code, message, core.replace_namespaced_config_map, "two", NAMESPACE, config_map("two", a="b"))
    if code == 409:
        set_here = "resourceVersion should not be set on objects to be created"
        refused(500, set_here, core.create_namespaced_config_map, NAMESPACE, config_map("three"))
    else:
        refused(code, message, core.create_namespaced_config_map, NAMESPACE, config_map("three"))
replies["mutating"] = {"patch": [{"op": "add", "path": "/metadata/uid", "value": "mine"}]}
assert core.create_namespaced_config_map(NAMESPACE, config_map("three")).metadata.uid != "mine"
replies["mutating"] = {"patch": [{"op": "add", "path": "/metadata/managedFields", "value": [{"operation": "x"}]}]}
made, _, headers = core.create_namespaced_config_map_with_http_info(NAMESPACE, config_map("four", a="b"))
assert made.metadata.managed_fields[0].operation == "Update", made
assert ".metadata.managedFields was in an invalid state after admission" in headers["Warning"], headers
replies.clear()

# Of several that refuse, the first to say so is told.
replies["first"], replies["second"] = {"refuse": "late", "after": "second"}, {"refuse": "early"}
refused(
    400,
    'admission webhook "second.example.com" denied the request: early',
    core.create_namespaced_config_map,
    NAMESPACE,
    config_map("five"),
)
