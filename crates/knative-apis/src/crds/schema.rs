//! The part of Kubernetes' types that Knative's kinds show.
//!
//! Each field is listed with its type, as a mask over the PodSpec: what is not listed is not stored.
//! Fields that an operator may allow (config-features) are kept whole, whatever is in them: the
//! admission looks at them. A test builds an object with every listed field and reads it as
//! Kubernetes' type: a name or type that is not there would be lost.

use super::structural::KEPT_DEFAULT;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

const QUANTITY: &str = "^(\\+|-)?(([0-9]+(\\.[0-9]*)?)|(\\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\\+|-)?(([0-9]+(\\.[0-9]*)?)|(\\.[0-9]+))))?$";

type Field = (&'static str, Value);

fn schema(value: Value) -> Schema {
    Schema::try_from(value).unwrap_or_default()
}

fn object(fields: impl IntoIterator<Item = Field>) -> Value {
    let properties: Map<String, Value> = fields.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
    json!({"type": "object", "properties": properties})
}

/// The same with more facts: `required`, list and map types.
fn with(mut schema: Value, facts: Value) -> Value {
    if let (Value::Object(schema), Value::Object(facts)) = (&mut schema, facts) {
        schema.extend(facts);
    }
    schema
}

fn described(text: &str, schema: Value) -> Value {
    with(schema, json!({"description": text}))
}

fn required(schema: Value, names: &[&str]) -> Value {
    with(schema, json!({"required": names}))
}

fn atomic(schema: Value) -> Value {
    with(schema, json!({"x-kubernetes-map-type": "atomic"}))
}

fn string() -> Value {
    json!({"type": "string"})
}

fn string_default(default: &str) -> Value {
    json!({"type": "string", KEPT_DEFAULT: default})
}

fn boolean() -> Value {
    json!({"type": "boolean"})
}

fn int32() -> Value {
    json!({"type": "integer", "format": "int32"})
}

fn int64() -> Value {
    json!({"type": "integer", "format": "int64"})
}

fn list(items: Value) -> Value {
    json!({"type": "array", "items": items})
}

fn atomic_list(items: Value) -> Value {
    json!({"type": "array", "items": items, "x-kubernetes-list-type": "atomic"})
}

fn keyed_list(key: &str, items: Value) -> Value {
    json!({"type": "array", "items": items, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]})
}

fn map_of(values: Value) -> Value {
    json!({"type": "object", "additionalProperties": values})
}

/// An object that is kept whole.
fn whole() -> Value {
    json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

fn number_or_name() -> Value {
    json!({"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": true})
}

fn quantity() -> Value {
    with(number_or_name(), json!({"pattern": QUANTITY}))
}

/// A number or a name, as ports are given.
pub(crate) fn int_or_string(_: &mut SchemaGenerator) -> Schema {
    schema(number_or_name())
}

/// A whole number of any size.
pub(crate) fn integer(_: &mut SchemaGenerator) -> Schema {
    schema(json!({"type": "integer"}))
}

/// A time.
pub(crate) fn date_time(_: &mut SchemaGenerator) -> Schema {
    schema(json!({"type": "string", "format": "date-time"}))
}

/// A reference to an object with all its fields.
pub(crate) fn object_reference(_: &mut SchemaGenerator) -> Schema {
    let fields = ["apiVersion", "fieldPath", "kind", "name", "namespace", "resourceVersion", "uid"];
    schema(atomic(object(fields.map(|name| (name, string())))))
}

/// A reference to an object of the same namespace.
pub(crate) fn scale_target_reference(_: &mut SchemaGenerator) -> Schema {
    schema(atomic(object(["apiVersion", "kind", "name"].map(|name| (name, string())))))
}

/// Secrets to pull an image with.
pub(crate) fn image_pull_secrets_list(_: &mut SchemaGenerator) -> Schema {
    schema(list(atomic(object([("name", string_default(""))]))))
}

/// The metadata of a template.
pub(crate) fn template_metadata(_: &mut SchemaGenerator) -> Schema {
    let fields = object([
        ("annotations", map_of(string())),
        ("finalizers", list(string())),
        ("labels", map_of(string())),
        ("name", string()),
        ("namespace", string()),
    ]);
    schema(with(fields, json!({"x-kubernetes-preserve-unknown-fields": true})))
}

/// A revision's spec: the Pod's, as far as Knative shows it, and its own.
pub(crate) fn revision_spec() -> Schema {
    let mut fields = vec![
        (
            "containerConcurrency",
            described(
                "ContainerConcurrency is how many requests one Pod takes at a time; 0 means any number.",
                int64(),
            ),
        ),
        ("timeoutSeconds", described("TimeoutSeconds is how long a request may take.", int64())),
        (
            "responseStartTimeoutSeconds",
            described(
                "ResponseStartTimeoutSeconds is how long a request may wait for the first byte of its response.",
                int64(),
            ),
        ),
        ("idleTimeoutSeconds", described("IdleTimeoutSeconds is how long a response may pause.", int64())),
    ];
    fields.extend(pod_spec());
    let text = "RevisionSpec is the Pod that serves, and how it is served.";
    schema(described(text, required(object(fields), &["containers"])))
}

fn pod_spec() -> Vec<Field> {
    let gated = |what: &str, schema| described(&format!("{what} An operator must allow it (config-features)."), schema);
    vec![
        ("affinity", gated("Affinity says which nodes are preferred.", whole())),
        (
            "automountServiceAccountToken",
            described("AutomountServiceAccountToken, if false, keeps the account's token out of the Pod.", boolean()),
        ),
        (
            "containers",
            described(
                "Containers of the Pod. One serves requests: the only one, or the one with a port.",
                list(container()),
            ),
        ),
        ("dnsConfig", gated("DNSConfig adds to the Pod's resolver.", whole())),
        ("dnsPolicy", gated("DNSPolicy chooses the Pod's resolver.", string())),
        (
            "enableServiceLinks",
            described("EnableServiceLinks sets variables for every Service of the namespace.", boolean()),
        ),
        ("hostAliases", gated("HostAliases are added to the hosts file.", list(whole()))),
        ("hostIPC", gated("HostIPC shares the node's IPC.", boolean())),
        ("hostNetwork", gated("HostNetwork shares the node's network.", boolean())),
        ("hostPID", gated("HostPID shares the node's processes.", boolean())),
        (
            "imagePullSecrets",
            described(
                "ImagePullSecrets are the secrets to pull images with.",
                keyed_list("name", atomic(object([("name", string_default(""))]))),
            ),
        ),
        ("initContainers", gated("InitContainers run one after another before the others.", list(whole()))),
        ("nodeSelector", gated("NodeSelector names labels that a node must have.", atomic(map_of(string())))),
        ("priorityClassName", gated("PriorityClassName is how important the Pod is.", string())),
        ("runtimeClassName", gated("RuntimeClassName chooses the container runtime.", string())),
        ("schedulerName", gated("SchedulerName chooses the scheduler.", string())),
        ("securityContext", gated("SecurityContext of all containers.", whole())),
        ("serviceAccountName", described("ServiceAccountName is the account the Pod acts as.", string())),
        (
            "shareProcessNamespace",
            gated("ShareProcessNamespace lets containers see each other's processes.", boolean()),
        ),
        ("tolerations", gated("Tolerations let the Pod onto tainted nodes.", list(whole()))),
        ("topologySpreadConstraints", gated("TopologySpreadConstraints spread Pods over the cluster.", list(whole()))),
        ("volumes", described("Volumes that containers can mount.", keyed_list("name", volume()))),
    ]
}

fn container() -> Value {
    object([
        ("args", described("Args of the command, in place of the image's.", atomic_list(string()))),
        ("command", described("Command, in place of the image's entrypoint.", atomic_list(string()))),
        ("env", described("Env sets environment variables.", keyed_list("name", env_var()))),
        ("envFrom", described("EnvFrom sets a variable for every key of a source.", atomic_list(env_from()))),
        ("image", described("Image is the container image.", string())),
        ("imagePullPolicy", described("ImagePullPolicy is Always, Never or IfNotPresent.", string())),
        ("livenessProbe", described("LivenessProbe: the container is restarted when it fails.", probe())),
        ("name", described("Name of the container.", string())),
        ("ports", described("Ports: the one port that requests are sent to.", list(container_port()))),
        ("readinessProbe", described("ReadinessProbe: requests are sent while it succeeds.", probe())),
        ("resources", described("Resources the container needs and may use.", resources())),
        ("securityContext", described("SecurityContext of the container.", security_context())),
        ("startupProbe", described("StartupProbe: the other probes wait for it.", probe())),
        (
            "terminationMessagePath",
            described("TerminationMessagePath is a file with the container's last words.", string()),
        ),
        ("terminationMessagePolicy", described("TerminationMessagePolicy is File or FallbackToLogsOnError.", string())),
        ("volumeMounts", described("VolumeMounts say where volumes appear.", keyed_list("mountPath", volume_mount()))),
        ("workingDir", described("WorkingDir is where the command runs.", string())),
    ])
}

/// A key of a ConfigMap or Secret.
fn key_selector() -> Value {
    let fields = [("key", string()), ("name", string_default("")), ("optional", boolean())];
    atomic(required(object(fields), &["key"]))
}

/// A ConfigMap or Secret as a whole.
fn env_source() -> Value {
    atomic(object([("name", string_default("")), ("optional", boolean())]))
}

fn env_var() -> Value {
    let source = object([
        ("configMapKeyRef", key_selector()),
        ("fieldRef", atomic(whole())),
        ("resourceFieldRef", atomic(whole())),
        ("secretKeyRef", key_selector()),
    ]);
    required(object([("name", string()), ("value", string()), ("valueFrom", source)]), &["name"])
}

fn env_from() -> Value {
    object([("configMapRef", env_source()), ("prefix", string()), ("secretRef", env_source())])
}

fn container_port() -> Value {
    object([
        ("containerPort", described("ContainerPort is the number.", int32())),
        ("name", described("Name is the protocol: http1 (the default) or h2c.", string())),
        ("protocol", described("Protocol is TCP.", string_default("TCP"))),
    ])
}

fn probe() -> Value {
    let header = required(object([("name", string()), ("value", string())]), &["name", "value"]);
    object([
        ("exec", object([("command", atomic_list(string()))])),
        ("failureThreshold", int32()),
        ("grpc", object([("port", int32()), ("service", string_default(""))])),
        (
            "httpGet",
            object([
                ("host", string()),
                ("httpHeaders", atomic_list(header)),
                ("path", string()),
                ("port", number_or_name()),
                ("scheme", string()),
            ]),
        ),
        ("initialDelaySeconds", int32()),
        ("periodSeconds", described("PeriodSeconds between two attempts; 0: as fast as is useful.", int32())),
        ("successThreshold", int32()),
        ("tcpSocket", object([("host", string()), ("port", number_or_name())])),
        ("timeoutSeconds", int32()),
    ])
}

fn resources() -> Value {
    object([("limits", map_of(quantity())), ("requests", map_of(quantity()))])
}

fn security_context() -> Value {
    let profile = object([("localhostProfile", string()), ("type", string())]);
    object([
        ("allowPrivilegeEscalation", boolean()),
        ("capabilities", object([("add", atomic_list(string())), ("drop", atomic_list(string()))])),
        ("privileged", boolean()),
        ("readOnlyRootFilesystem", boolean()),
        ("runAsGroup", int64()),
        ("runAsNonRoot", boolean()),
        ("runAsUser", int64()),
        ("seccompProfile", required(profile, &["type"])),
    ])
}

fn volume_mount() -> Value {
    let fields = [
        ("mountPath", string()),
        ("mountPropagation", string()),
        ("name", string()),
        ("readOnly", boolean()),
        ("subPath", string()),
    ];
    required(object(fields), &["mountPath", "name"])
}

fn items() -> Value {
    let item = object([("key", string()), ("mode", int32()), ("path", string())]);
    atomic_list(required(item, &["key", "path"]))
}

fn volume() -> Value {
    let config_map =
        [("defaultMode", int32()), ("items", items()), ("name", string_default("")), ("optional", boolean())];
    let secret = [("defaultMode", int32()), ("items", items()), ("optional", boolean()), ("secretName", string())];
    let fields = object([
        ("configMap", atomic(object(config_map))),
        ("csi", whole()),
        ("emptyDir", whole()),
        ("ephemeral", whole()),
        ("hostPath", whole()),
        ("image", whole()),
        ("name", string()),
        ("persistentVolumeClaim", whole()),
        ("projected", object([("defaultMode", int32()), ("sources", atomic_list(projection()))])),
        ("secret", object(secret)),
    ]);
    required(fields, &["name"])
}

fn projection() -> Value {
    let files = || object([("items", items()), ("name", string_default("")), ("optional", boolean())]);
    let field = object([("apiVersion", string()), ("fieldPath", string())]);
    let resource = object([("containerName", string()), ("divisor", quantity()), ("resource", string())]);
    let downward_file = object([
        ("fieldRef", atomic(required(field, &["fieldPath"]))),
        ("mode", int32()),
        ("path", string()),
        ("resourceFieldRef", atomic(required(resource, &["resource"]))),
    ]);
    let token = object([("audience", string()), ("expirationSeconds", int64()), ("path", string())]);
    object([
        ("configMap", atomic(files())),
        ("downwardAPI", object([("items", atomic_list(required(downward_file, &["path"])))])),
        ("secret", atomic(files())),
        ("serviceAccountToken", required(token, &["path"])),
    ])
}
