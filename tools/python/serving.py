"""The life of a Knative Service by the Python client (`kubernetes` of PyPI), against the API of the kubeconfig in KUBECONFIG.

Its arguments are the image of samples/hello and the address of the gateway. It prints a line for each thing that works; the first that does
not ends it.
"""

import sys
import time
import urllib.parse
import urllib.request

from kubernetes import client, config, watch

NAMESPACE = "python-serving"
NAME = "journey"
PATIENCE = 60
SERVING = ("serving.knative.dev", "v1", NAMESPACE)
HALVES = [
    {"revisionName": f"{NAME}-00001", "tag": "one", "percent": 50},
    {"revisionName": f"{NAME}-00002", "tag": "two", "percent": 50},
]


def until(what, look):
    """Looks until there is something."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.05)
    raise TimeoutError(what)


def template(target):
    container = {"image": sys.argv[1], "env": [{"name": "TARGET", "value": target}]}
    return {"spec": {"containers": [container]}}


def is_ready(service):
    status = service.get("status", {})
    conditions = {one["type"]: one["status"] for one in status.get("conditions", [])}
    return status.get("observedGeneration") == service["metadata"]["generation"] and conditions.get("Ready") == "True"


def ready(objects):
    """Watches the Service until its newest generation is ready."""
    watching = watch.Watch()
    options = {"field_selector": f"metadata.name={NAME}", "timeout_seconds": PATIENCE}
    for event in watching.stream(objects.list_namespaced_custom_object, *SERVING, "services", **options):
        if is_ready(event["object"]):
            watching.stop()
            return event["object"]["status"]
    raise TimeoutError(f"{NAME} is not ready")


def patch(objects, spec):
    objects.patch_namespaced_custom_object(*SERVING, "services", NAME, {"spec": spec})
    return ready(objects)


def ask(url):
    """Asks the gateway, whatever the machine makes of the name."""
    request = urllib.request.Request(f"http://{sys.argv[2]}", headers={"Host": urllib.parse.urlsplit(url).netloc})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return answer.read().decode().split("!")[0]


def create(objects):
    client.CoreV1Api().create_namespace({"metadata": {"name": NAMESPACE}})
    body = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": NAME}}
    objects.create_namespaced_custom_object(*SERVING, "services", body | {"spec": {"template": template("one")}})
    assert ask(ready(objects)["url"]) == "Hello one"


def update(objects):
    status = patch(objects, {"template": template("two")})
    assert status["latestReadyRevisionName"] == f"{NAME}-00002", status
    assert ask(status["url"]) == "Hello two"


def split(objects):
    status = patch(objects, {"traffic": HALVES})
    tagged = {one["tag"]: ask(one["url"]) for one in status["traffic"]}
    assert tagged == {"one": "Hello one", "two": "Hello two"}, tagged
    seen = {ask(status["url"]) for _ in range(40)}
    assert seen == {"Hello one", "Hello two"}, seen


def roll_back(objects):
    status = patch(objects, {"traffic": [{"revisionName": f"{NAME}-00001", "percent": 100}]})
    assert {ask(status["url"]) for _ in range(10)} == {"Hello one"}


def delete(objects):
    objects.delete_namespaced_custom_object(*SERVING, "services", NAME, propagation_policy="Foreground")
    for plural in ("services", "configurations", "revisions", "routes"):
        until(f"the end of its {plural}", lambda: not objects.list_namespaced_custom_object(*SERVING, plural)["items"])
    client.CoreV1Api().delete_namespace(NAMESPACE)


STEPS = {
    "created": create,
    "second revision": update,
    "split by traffic and tags": split,
    "rolled back": roll_back,
    "deleted": delete,
}


def main():
    config.load_kube_config()
    objects = client.CustomObjectsApi()
    for name, step in STEPS.items():
        step(objects)
        print(name, flush=True)


main()
