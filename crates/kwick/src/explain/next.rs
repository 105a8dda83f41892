//! What to type next, from what was found. Pure.

use knative_serving::explain::{ContainerTrouble, Explanation};

use super::{Fate, Request, Step};

/// Commands in the order of their use.
pub(crate) fn next(explanation: &Explanation, request: Option<&Request>) -> Vec<Step> {
    let steps = Steps { namespace: &explanation.namespace, name: &explanation.name };
    if let Some(trouble) = explanation.containers.first() {
        return steps.for_container(trouble);
    }
    if explanation.ready.is_true() && explanation.is_current {
        return steps.for_request(request).into_iter().collect();
    }
    let mut all: Vec<Step> =
        explanation.troubles.iter().filter_map(|found| steps.for_reason(&found.condition)).collect();
    all.dedup();
    if all.is_empty() && !explanation.ready.is_false() {
        all.push(steps.wait());
    }
    if all.is_empty() {
        all.push(steps.describe());
    }
    all
}

struct Steps<'a> {
    namespace: &'a str,
    name: &'a str,
}

impl Steps<'_> {
    fn for_container(&self, trouble: &ContainerTrouble) -> Vec<Step> {
        let Some(container) = &trouble.container else {
            return vec![self.step(&format!("kubectl describe pod {}", trouble.pod), "why no node takes it")];
        };
        if is_about_image(&trouble.state) {
            return self.for_image();
        }
        let logs = format!("kubectl logs {} -c {container}", trouble.pod);
        if trouble.is_log_of_previous || trouble.state.starts_with("ended") {
            let previous = if trouble.is_log_of_previous { " --previous" } else { "" };
            return vec![self.step(&format!("{logs}{previous}"), "all that it said before it ended"), self.edit()];
        }
        if trouble.state.starts_with("waiting") {
            return vec![self.wait()];
        }
        vec![self.step(&logs, "what it does meanwhile"), self.edit()]
    }

    fn for_reason(&self, condition: &knative_apis::condition::Condition) -> Option<Step> {
        let is = |text: &str| condition.reason == text || condition.message.contains(text);
        if is("ContainerMissing") || is("ErrImagePull") || is("ImagePullBackOff") {
            return Some(step(
                "kwick image list",
                "the images that are here; `kwick image import` and `pack` add some",
            ));
        }
        if is("exceeded quota") {
            return Some(self.step("kubectl describe resourcequota", "what is used of what is allowed"));
        }
        if condition.type_ == "AllTrafficAssigned" {
            let command = format!("kubectl get revisions -l serving.knative.dev/service={}", self.name);
            return Some(self.step(&command, "the Revisions that traffic can go to"));
        }
        if condition.is_false() { Some(self.describe()) } else { None }
    }

    fn for_image(&self) -> Vec<Step> {
        let list = step("kwick image list", "the images that are here; `kwick image import` and `pack` add some");
        vec![list, self.edit()]
    }

    fn for_request(&self, request: Option<&Request>) -> Option<Step> {
        let Request { url, fate } = request?;
        Some(match fate {
            Fate::Routed(to) if to.is_cluster_local => {
                step(&format!("curl {url}"), "asks it, from a Pod: the host is cluster-local")
            }
            Fate::Routed(_) => step(&format!("curl {url}"), "asks it"),
            Fate::Withheld => self.step("kubectl get ksvc", "the Services here, with their URLs"),
            Fate::Unknown => self.step("kubectl get ksvc,domainmappings", "the hosts that there are"),
        })
    }

    fn wait(&self) -> Step {
        let command = format!("kubectl wait ksvc/{} --for=condition=Ready --timeout=60s", self.name);
        self.step(&command, "it is on its way")
    }

    fn edit(&self) -> Step {
        self.step(&format!("kubectl edit ksvc {}", self.name), "mends it, which makes the next Revision")
    }

    fn describe(&self) -> Step {
        self.step(&format!("kubectl describe ksvc {}", self.name), "all that is said of it")
    }

    /// A command of kubectl about this namespace.
    fn step(&self, command: &str, why: &str) -> Step {
        let option = if self.namespace == "default" { String::new() } else { format!(" -n {}", self.namespace) };
        step(&format!("{command}{option}"), why)
    }
}

fn step(command: &str, why: &str) -> Step {
    Step { command: command.to_owned(), why: why.to_owned() }
}

fn is_about_image(state: &str) -> bool {
    ["ErrImagePull", "ImagePullBackOff", "InvalidImageName"].iter().any(|reason| state.contains(reason))
}
