"""What people do with the Python client (`kubernetes` of PyPI), against the API of the kubeconfig in KUBECONFIG.

Its argument is the image of a shell. It prints a line for each thing that works; the first that does not ends it.
"""

import datetime
import json
import os
import sys
import threading
import time

from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.rest import ApiException
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock
from kubernetes.stream import portforward, stream

NAMESPACE = "python"
PATIENCE = 60


def until(what, look):
    """Looks until there is something."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.05)
    raise TimeoutError(what)


def refused(status, reason, act):
    """What is wrong is refused with this status and reason."""
    try:
        act()
    except ApiException as error:
        assert error.status == status and reason in error.body, (error.status, error.body)
        return
    raise AssertionError(f"{reason} was expected")


def names(items):
    return sorted(item.metadata.name for item in items)


def make_namespace(core, _image):
    core.create_namespace({"metadata": {"name": NAMESPACE}})
    accounts = lambda: names(core.list_namespaced_service_account(NAMESPACE).items)
    until("the service account", lambda: "default" in accounts())


def discovery(core, _image):
    assert client.VersionApi().get_code().major == "1"
    assert "apps" in [group.name for group in client.ApisApi().get_api_versions().groups]
    assert "pods/exec" in [resource.name for resource in core.get_api_resources().resources]


def create_read_update_delete(core, _image):
    body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="a", labels={"kind": "map"}), data={"a": "1"})
    made = core.create_namespaced_config_map(NAMESPACE, body)
    assert made.metadata.creation_timestamp <= datetime.datetime.now(datetime.timezone.utc)
    refused(409, "AlreadyExists", lambda: core.create_namespaced_config_map(NAMESPACE, body))
    made.data["b"] = "2"
    now = core.replace_namespaced_config_map("a", NAMESPACE, made)
    assert now.data == {"a": "1", "b": "2"}
    refused(409, "Conflict", lambda: core.replace_namespaced_config_map("a", NAMESPACE, made))
    refused(422, "Invalid", lambda: core.create_namespaced_config_map(NAMESPACE, {"metadata": {"name": "A"}}))
    for index in range(7):
        core.create_namespaced_secret(NAMESPACE, {"metadata": {"name": f"s{index}"}, "stringData": {"key": "value"}})
    first = core.list_namespaced_secret(NAMESPACE, limit=5)
    rest = core.list_namespaced_secret(NAMESPACE, limit=5, _continue=first.metadata._continue)
    assert names(first.items + rest.items) == [f"s{index}" for index in range(7)]
    assert first.items[0].data == {"key": "dmFsdWU="}
    assert names(core.list_namespaced_config_map(NAMESPACE, label_selector="kind=map").items) == ["a"]
    core.delete_collection_namespaced_secret(NAMESPACE)
    assert core.list_namespaced_secret(NAMESPACE).items == []
    core.delete_namespaced_config_map("a", NAMESPACE)
    refused(404, "NotFound", lambda: core.read_namespaced_config_map("a", NAMESPACE))


def patches(core, image):
    apps = client.AppsV1Api()
    labels = {"app": "patched"}
    container = {"name": "c", "image": image, "env": [{"name": "A", "value": "1"}]}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    apps.create_namespaced_deployment(NAMESPACE, {"metadata": {"name": "patched"}, "spec": spec})

    def patched(patch, content, **options):
        now = apps.patch_namespaced_deployment("patched", NAMESPACE, patch, _content_type=content, **options)
        return {variable.name: variable.value for variable in now.spec.template.spec.containers[0].env}

    at = lambda env: {"spec": {"template": {"spec": {"containers": [env]}}}}
    more = at({"name": "c", "env": [{"name": "B", "value": "2"}]})
    assert patched(more, "application/strategic-merge-patch+json") == {"A": "1", "B": "2"}
    path = "/spec/template/spec/containers/0/env/0/value"
    assert patched([{"op": "replace", "path": path, "value": "3"}], "application/json-patch+json") in (
        {"A": "3", "B": "2"},
        {"A": "1", "B": "3"},
    )
    whole = at({"name": "c", "image": image, "env": [{"name": "C", "value": "4"}]})
    assert patched(whole, "application/merge-patch+json") == {"C": "4"}
    applied = {"apiVersion": "apps/v1", "kind": "Deployment"} | at({"name": "c", "env": [{"name": "D", "value": "5"}]})
    options = {"field_manager": "python", "force": True}
    assert patched(applied, "application/apply-patch+yaml", **options) == {"C": "4", "D": "5"}
    scale = apps.patch_namespaced_deployment_scale("patched", NAMESPACE, {"spec": {"replicas": 1}})
    assert scale.spec.replicas == 1
    apps.delete_namespaced_deployment("patched", NAMESPACE, propagation_policy="Foreground")
    until("the end", lambda: apps.list_namespaced_deployment(NAMESPACE).items == [])


def watches(core, _image):
    start = core.list_namespaced_config_map(NAMESPACE).metadata.resource_version
    core.create_namespaced_config_map(NAMESPACE, {"metadata": {"name": "w"}})
    core.patch_namespaced_config_map("w", NAMESPACE, {"data": {"a": "1"}})
    core.delete_namespaced_config_map("w", NAMESPACE)
    seen, watching = [], watch.Watch()
    list_maps = core.list_namespaced_config_map
    for event in watching.stream(list_maps, NAMESPACE, resource_version=start, timeout_seconds=PATIENCE):
        seen.append((event["type"], event["object"].metadata.name))
        if event["type"] == "DELETED":
            watching.stop()
    assert seen == [(kind, "w") for kind in ("ADDED", "MODIFIED", "DELETED")], seen


def from_yaml(core, _image):
    manifest = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "made"}, "spec": {"ports": [{"port": 80}]}}
    utils.create_from_dict(client.ApiClient(), manifest, namespace=NAMESPACE)
    assert core.read_namespaced_service("made", NAMESPACE).spec.cluster_ip


def custom(core, _image):
    size = {"type": "integer", "minimum": 1}
    spec = {"type": "object", "properties": {"size": size}, "required": ["size"]}
    schema = {"type": "object", "properties": {"spec": spec}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    kinds = {"plural": "gadgets", "singular": "gadget", "kind": "Gadget", "shortNames": ["gdt"]}
    group = "python.example.com"
    definitions = client.ApiextensionsV1Api()
    body = {
        "metadata": {"name": f"gadgets.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": kinds, "versions": [version]},
    }
    definitions.create_custom_resource_definition(body)

    def is_established():
        now = definitions.read_custom_resource_definition(body["metadata"]["name"])
        return [one for one in now.status.conditions or [] if (one.type, one.status) == ("Established", "True")]

    until("the definition", is_established)
    gadget = {"apiVersion": f"{group}/v1", "kind": "Gadget", "metadata": {"name": "g"}, "spec": {"size": 1}}
    objects, place = client.CustomObjectsApi(), (group, "v1", NAMESPACE, "gadgets")
    objects.create_namespaced_custom_object(*place, gadget)
    wrong = gadget | {"metadata": {"name": "wrong"}, "spec": {"size": 0}}
    refused(422, "should be greater than or equal to 1", lambda: objects.create_namespaced_custom_object(*place, wrong))
    # The dynamic client finds what is served by discovery.
    found = dynamic.DynamicClient(client.ApiClient()).resources.get(api_version=f"{group}/v1", kind="Gadget")
    assert found.get(name="g", namespace=NAMESPACE).spec.size == 1
    change = {"metadata": {"name": "g"}, "spec": {"size": 2}}
    found.patch(body=change, namespace=NAMESPACE, content_type="application/merge-patch+json")
    applied = found.server_side_apply(body=gadget, namespace=NAMESPACE, field_manager="python", force_conflicts=True)
    assert applied.spec.size == 1
    for event in found.watch(namespace=NAMESPACE, timeout=PATIENCE):
        assert event["type"] == "ADDED" and event["object"].metadata.name == "g"
        break
    definitions.delete_custom_resource_definition(body["metadata"]["name"])


def story(core, name):
    """What there is to say of a Pod: its status, and what was told of it."""
    pod = core.read_namespaced_pod(name, NAMESPACE)
    status = client.ApiClient().sanitize_for_serialization(pod.status)
    events = core.list_namespaced_event(NAMESPACE, field_selector=f"involvedObject.name={name}").items
    return json.dumps([status, [f"{event.reason}: {event.message}" for event in events]])


def pods(core, image):
    program = "echo started; /busybox mkdir /www; echo hello >/www/index.html; exec /busybox httpd -f -p 9000 -h /www"
    container = {"name": "c", "image": image, "imagePullPolicy": "IfNotPresent", "args": ["-c", program]}
    container["readinessProbe"] = {"tcpSocket": {"port": 9000}, "periodSeconds": 1}
    spec = {"terminationGracePeriodSeconds": 0, "containers": [container]}
    core.create_namespaced_pod(NAMESPACE, {"metadata": {"name": "shell"}, "spec": spec})

    def is_ready():
        now = core.read_namespaced_pod("shell", NAMESPACE)
        return [one for one in now.status.conditions or [] if (one.type, one.status) == ("Ready", "True")]

    try:
        until("the Pod", is_ready)
    except TimeoutError:
        raise TimeoutError(story(core, "shell")) from None
    assert core.read_namespaced_pod_log("shell", NAMESPACE) == "started\n"
    lines = watch.Watch().stream(core.read_namespaced_pod_log, "shell", NAMESPACE)
    assert next(lines) == "started"
    connect = core.connect_get_namespaced_pod_exec
    said = stream(connect, "shell", NAMESPACE, command=["sh", "-c", "echo out"], stdout=True, stderr=True)
    assert said == "out\n", said
    session = stream(
        connect, "shell", NAMESPACE, command=["sh"], stdin=True, stdout=True, stderr=True, _preload_content=False
    )
    session.write_stdin("echo $((6 * 7)); echo wrong >&2; exit 5\n")
    session.run_forever(timeout=PATIENCE)
    assert (session.read_stdout(), session.read_stderr(), session.returncode) == ("42\n", "wrong\n", 5)
    forwarded = portforward(core.connect_get_namespaced_pod_portforward, "shell", NAMESPACE, ports="9000")
    socket = forwarded.socket(9000)
    socket.settimeout(PATIENCE)
    socket.sendall(b"GET / HTTP/1.0\r\n\r\n")
    answer = b""
    while part := socket.recv(4096):
        answer += part
    assert answer.endswith(b"hello\n"), (answer, forwarded.error(9000))
    body = {"metadata": {"name": "shell", "namespace": NAMESPACE}}
    core.create_namespaced_pod_eviction("shell", NAMESPACE, client.V1Eviction(metadata=body["metadata"]))
    until("the eviction", lambda: core.list_namespaced_pod(NAMESPACE).items == [])


def leader(core, _image):
    led = threading.Event()
    lock = LeaseLock("leader", NAMESPACE, "one")
    settings = electionconfig.Config(
        lock, lease_duration=15, renew_deadline=10, retry_period=1, onstarted_leading=led.set, onstopped_leading=None
    )
    threading.Thread(target=leaderelection.LeaderElection(settings).run, daemon=True).start()
    assert led.wait(PATIENCE)
    lease = client.CoordinationV1Api().read_namespaced_lease("leader", NAMESPACE)
    assert lease.spec.holder_identity == "one"


def delete_namespace(core, _image):
    core.delete_namespace(NAMESPACE)
    until("its end", lambda: NAMESPACE not in names(core.list_namespace().items))


STEPS = {
    "namespace": make_namespace,
    "discovery": discovery,
    "create, read, update, delete, list by pages": create_read_update_delete,
    "patches of four kinds, scale": patches,
    "watch": watches,
    "objects from a manifest": from_yaml,
    "a CRD, the dynamic client": custom,
    "log, exec, port-forward, eviction": pods,
    "leader election by Lease": leader,
    "namespace gone with all in it": delete_namespace,
}


def main():
    config.load_kube_config()
    core = client.CoreV1Api()
    for name, step in STEPS.items():
        step(core, sys.argv[1])
        print(name, flush=True)
    # The leader goes on in a thread that cannot be stopped, and Python aborts if such a one writes while the others end.
    os._exit(0)


main()
