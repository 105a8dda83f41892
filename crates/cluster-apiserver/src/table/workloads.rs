//! What makes Pods: Deployments, ReplicaSets, StatefulSets, DaemonSets, Jobs, CronJobs.

use base_rt::Timestamp;
use serde_json::Value;

use super::age::{duration, seconds_between};
use super::{
    AGE, Column, NAME, NONE, Printer, UNSET, age, has_condition, integer, name, number, object_age, or_none, text,
};
use crate::kinds::selector;
use crate::value::{at, bool_at, i64_at, list_at, str_at};

const CONTAINERS: Column = text("Containers").about("Names of each container in the template.").wide();
const IMAGES: Column = text("Images").about("Images referenced by each container in the template.").wide();
const SELECTOR: Column = text("Selector").wide();

pub(super) const DEPLOYMENT: Printer = Printer {
    columns: &[NAME, text("Ready").about("Number of the pod with ready state"), text("Up-to-date").about("Total number of non-terminating pods targeted by this deployment that have the desired template spec."), text("Available").about("Total number of available non-terminating pods (ready for at least minReadySeconds) targeted by this deployment."), AGE, CONTAINERS, IMAGES, SELECTOR.about("Label selector for pods. Existing ReplicaSets whose pods are selected by this will be the ones affected by this deployment. It must match the pod template's labels.")],
    cells: |object, now| {
        let mut cells = vec![
            name(object),
            ready(object),
            integer(object, &["status", "updatedReplicas"]).into(),
            integer(object, &["status", "availableReplicas"]).into(),
            object_age(object, now),
        ];
        cells.extend(template(object, &["spec", "template", "spec"]));
        cells.push(selector::text(&object["spec"]["selector"]).into());
        cells
    },
};

const REPLICAS: &[Column] =
    &[NAME, number("Desired"), number("Current"), number("Ready"), AGE, CONTAINERS, IMAGES, SELECTOR];

pub(super) const REPLICA_SET: Printer = Printer {
    columns: REPLICAS,
    cells: |object, now| replicas(object, now, selector::text(&object["spec"]["selector"])),
};

pub(super) const REPLICATION_CONTROLLER: Printer = Printer {
    columns: REPLICAS,
    cells: |object, now| replicas(object, now, selector::labels_text(&object["spec"]["selector"])),
};

pub(super) const STATEFUL_SET: Printer = Printer {
    columns: &[NAME, text("Ready"), AGE, CONTAINERS, IMAGES],
    cells: |object, now| {
        let mut cells = vec![name(object), ready(object), object_age(object, now)];
        cells.extend(template(object, &["spec", "template", "spec"]));
        cells
    },
};

pub(super) const DAEMON_SET: Printer = Printer {
    columns: &[
        NAME,
        number("Desired"),
        number("Current"),
        number("Ready"),
        number("Up-to-date"),
        number("Available"),
        text("Node Selector"),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    cells: |object, now| {
        let counts = [
            "desiredNumberScheduled",
            "currentNumberScheduled",
            "numberReady",
            "updatedNumberScheduled",
            "numberAvailable",
        ];
        let mut cells = vec![name(object)];
        cells.extend(counts.map(|count| Value::from(integer(object, &["status", count]))));
        cells.push(selector::labels_text(&object["spec"]["template"]["spec"]["nodeSelector"]).into());
        cells.push(object_age(object, now));
        cells.extend(template(object, &["spec", "template", "spec"]));
        cells.push(selector::text(&object["spec"]["selector"]).into());
        cells
    },
};

pub(super) const CONTROLLER_REVISION: Printer = Printer {
    columns: &[NAME, text("Controller"), number("Revision"), AGE],
    cells: |object, now| {
        let owners = list_at(object, &["metadata", "ownerReferences"]);
        let owner = owners.iter().find(|owner| bool_at(owner, &["controller"]) == Some(true));
        let owner = owner.map(|owner| {
            let group = str_at(owner, &["apiVersion"]).split_once('/').map_or("", |(group, _)| group);
            crate::kinds::qualify(&str_at(owner, &["kind"]).to_lowercase(), group) + "/" + str_at(owner, &["name"])
        });
        vec![
            name(object),
            owner.unwrap_or_else(|| NONE.to_owned()).into(),
            integer(object, &["revision"]).into(),
            object_age(object, now),
        ]
    },
};

pub(super) const POD_TEMPLATE: Printer = Printer {
    columns: &[NAME, text("Containers"), text("Images"), text("Pod Labels")],
    cells: |object, _| {
        let mut cells = vec![name(object)];
        cells.extend(template(object, &["template", "spec"]));
        cells.push(selector::labels_text(&object["template"]["metadata"]["labels"]).into());
        cells
    },
};

pub(super) const JOB: Printer = Printer {
    columns: &[NAME, text("Status").about("Status of the job."), text("Completions").about("The number of pods which reached phase Succeeded. The value increases monotonically for a given spec. However, it may decrease in reaction to scale down of elastic indexed jobs."), text("Duration").about("Time required to complete the job."), AGE, CONTAINERS, IMAGES, SELECTOR.about("A label query over pods that should match the pod count. Normally, the system sets this field for you. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors")],
    cells: |object, now| {
        let mut cells = vec![
            name(object),
            job_status(object).into(),
            completions(object).into(),
            job_duration(object, now).into(),
            object_age(object, now),
        ];
        cells.extend(template(object, &["spec", "template", "spec"]));
        cells.push(selector::text(&object["spec"]["selector"]).into());
        cells
    },
};

pub(super) const CRON_JOB: Printer = Printer {
    columns: &[
        NAME,
        text("Schedule"),
        text("Timezone"),
        text("Suspend"),
        number("Active"),
        text("Last Schedule"),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    cells: |object, now| {
        let suspend = match bool_at(object, &["spec", "suspend"]) {
            Some(true) => "True",
            Some(false) => "False",
            None => UNSET,
        };
        let last = match str_at(object, &["status", "lastScheduleTime"]) {
            "" => NONE.to_owned(),
            time => age(time, now),
        };
        let job = &object["spec"]["jobTemplate"]["spec"];
        let mut cells = vec![
            name(object),
            str_at(object, &["spec", "schedule"]).into(),
            or_none(str_at(object, &["spec", "timeZone"])).into(),
            suspend.into(),
            list_at(object, &["status", "active"]).len().into(),
            last.into(),
            object_age(object, now),
        ];
        cells.extend(template(job, &["template", "spec"]));
        cells.push(selector::text(&job["selector"]).into());
        cells
    },
};

fn ready(object: &Value) -> Value {
    let ready = integer(object, &["status", "readyReplicas"]);
    format!("{ready}/{}", integer(object, &["spec", "replicas"])).into()
}

fn replicas(object: &Value, now: Timestamp, selector: String) -> Vec<Value> {
    let mut cells = vec![
        name(object),
        integer(object, &["spec", "replicas"]).into(),
        integer(object, &["status", "replicas"]).into(),
        integer(object, &["status", "readyReplicas"]).into(),
        object_age(object, now),
    ];
    cells.extend(template(object, &["spec", "template", "spec"]));
    cells.push(selector.into());
    cells
}

/// The names and images of the containers that a template at `path` has.
fn template(object: &Value, path: &[&str]) -> [Value; 2] {
    let containers = at(object, path).map_or(&[] as &[Value], |spec| list_at(spec, &["containers"]));
    let all = |field: &str| {
        let texts = containers.iter().map(|container| str_at(container, &[field]));
        Value::from(texts.collect::<Vec<_>>().join(","))
    };
    [all("name"), all("image")]
}

fn job_status(job: &Value) -> &'static str {
    let is_ending = at(job, &["metadata", "deletionTimestamp"]).is_some();
    match () {
        () if has_condition(job, "Complete") => "Complete",
        () if has_condition(job, "Failed") => "Failed",
        () if is_ending => "Terminating",
        () if has_condition(job, "Suspended") => "Suspended",
        () if has_condition(job, "FailureTarget") => "FailureTarget",
        () if has_condition(job, "SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
}

fn completions(job: &Value) -> String {
    let succeeded = integer(job, &["status", "succeeded"]);
    match (i64_at(job, &["spec", "completions"]), integer(job, &["spec", "parallelism"])) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    }
}

fn job_duration(job: &Value, now: Timestamp) -> String {
    let time = |name: &str| str_at(job, &["status", name]).parse::<Timestamp>().ok();
    time("startTime")
        .map_or_else(String::new, |start| duration(seconds_between(start, time("completionTime").unwrap_or(now))))
}
