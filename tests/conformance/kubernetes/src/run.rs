//! A run: operations sent to both servers in order, in namespaces of its own. After a difference the object is removed on both, so that one
//! difference is not seen again in all that follows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::catalogue::Catalogue;
use crate::client::{Answer, Client, Watch, Wire};
use crate::compare::{Difference, Pairs};
use crate::operation::{Act, Ask, Key, On, Operation};
use crate::side::{Place, Side};

/// A watch delivers at most so many events before the one that ends it.
const MOST_EVENTS: usize = 100_000;
/// kube-apiserver answers a request that names a state from a cache, which may be a moment behind: so often it is asked again, and how soon.
const CACHE_LOOKS: usize = 10;
const CACHE_PAUSE: Duration = Duration::from_millis(100);

/// Both servers, and what is known of them.
pub(crate) struct Servers {
    pub(crate) kwick: Client,
    pub(crate) oracle: Client,
    pub(crate) pairs: Pairs,
    /// How many runs there were: each has its own namespaces.
    pub(crate) runs: usize,
}

/// Both servers' answers to an operation, where they differ.
pub(crate) struct Finding {
    pub(crate) operation: Operation,
    pub(crate) differences: Vec<Difference>,
    /// What was sent to Kwick.
    pub(crate) wire: Wire,
    pub(crate) kwick: String,
    pub(crate) oracle: String,
}

struct Both {
    kwick: Watch,
    oracle: Watch,
    operation: Operation,
    wire: Wire,
}

/// One run.
pub(crate) struct Run<'a> {
    servers: &'a mut Servers,
    place: Place<'a>,
    kwick: Side,
    oracle: Side,
    watches: BTreeMap<usize, Both>,
    /// Collections whose objects were removed after a difference: their open watches say nothing any more.
    disturbed: BTreeSet<usize>,
    /// Events that were compared.
    pub(crate) events: usize,
    /// The object whose answers are printed.
    pub(crate) traced: Option<String>,
}

impl Servers {
    /// Sends one request to both.
    pub(crate) async fn both(&mut self, kwick: &Wire, oracle: &Wire) -> Result<(Answer, Answer)> {
        Ok((self.kwick.ask(kwick).await.context("Kwick")?, self.oracle.ask(oracle).await.context("kube-apiserver")?))
    }
}

impl<'a> Run<'a> {
    /// Makes the run's namespaces.
    pub(crate) async fn begin(servers: &'a mut Servers, catalogue: &'a Catalogue) -> Result<Self> {
        let number = servers.runs;
        servers.runs += 1;
        let namespaces = ["alpha", "beta"].map(|name| format!("{name}-{number}"));
        for namespace in &namespaces {
            let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}).to_string();
            let path = "/api/v1/namespaces".to_owned();
            let wire = Wire { method: "POST", path, content_type: "application/json", body: Some(body) };
            let (kwick, oracle) = servers.both(&wire, &wire).await?;
            if !(kwick.is_success() && oracle.is_success()) {
                bail!("no namespace: {} {}", kwick.body, oracle.body);
            }
        }
        let place = Place { catalogue, namespaces };
        Ok(Self {
            servers,
            place,
            kwick: Side::default(),
            oracle: Side::default(),
            watches: BTreeMap::new(),
            disturbed: BTreeSet::new(),
            events: 0,
            traced: None,
        })
    }

    /// Does one operation on both sides.
    pub(crate) async fn step(&mut self, operation: &Operation) -> Result<Option<Finding>> {
        match &operation.act {
            Act::Ask(ask) => self.ask(operation, ask).await,
            Act::Watch(query) => self.open(operation, query).await,
            Act::Close(opened) => self.close(*opened).await,
        }
    }

    async fn ask(&mut self, operation: &Operation, ask: &Ask) -> Result<Option<Finding>> {
        let wire = self.kwick.wire(&self.place, operation, ask);
        let theirs = self.oracle.wire(&self.place, operation, ask);
        let (mut kwick, mut oracle) = self.servers.both(&wire, &theirs).await?;
        let mut differences = self.differences(ask, &kwick, &oracle);
        for _ in 0..CACHE_LOOKS {
            if differences.is_empty() || !ask.may_be_newer() {
                break;
            }
            tokio::time::sleep(CACHE_PAUSE).await;
            (kwick, oracle) = self.servers.both(&wire, &theirs).await?;
            differences = self.differences(ask, &kwick, &oracle);
        }
        // What one side alone takes for right is not built upon.
        if kwick.is_success() == oracle.is_success() {
            self.kwick.learn(&self.place, operation, ask, &kwick);
            self.oracle.learn(&self.place, operation, ask, &oracle);
        }
        self.trace(operation, &wire, &kwick, &oracle);
        if differences.is_empty() {
            if ask.on == On::Object("scale")
                && ask.writes()
                && oracle.is_success()
                && self.is_split(&operation.key).await?
            {
                self.remove(&operation.key, ask.on).await?;
            }
            return Ok(None);
        }
        // One that was stored again on one side alone stays different.
        let is_of_revision = |difference: &Difference| difference.path.ends_with("/resourceVersion");
        if ask.writes() || differences.iter().any(is_of_revision) {
            self.remove(&operation.key, ask.on).await?;
        }
        let show = |answer: &Answer| format!("{} {:?} {}", answer.status, answer.warnings, answer.body);
        let (kwick, oracle) = (show(&kwick), show(&oracle));
        Ok(Some(Finding { operation: operation.clone(), differences, wire, kwick, oracle }))
    }

    fn differences(&mut self, ask: &Ask, kwick: &Answer, oracle: &Answer) -> Vec<Difference> {
        let mut differences = self.servers.pairs.answers(kwick, oracle);
        if ask.may_be_newer() {
            let may_differ = ["/metadata/listRevision", "/metadata/remainingItemCount"];
            differences.retain(|difference| !may_differ.contains(&difference.path.as_str()));
        }
        differences
    }

    fn trace(&self, operation: &Operation, wire: &Wire, kwick: &Answer, oracle: &Answer) {
        let Some(traced) = &self.traced else { return };
        let Key { kind, namespace, name } = &operation.key;
        if *traced == format!("{}/{namespace}/{name}", self.place.catalogue.kinds[*kind].plural) {
            let body = wire.body.as_deref().unwrap_or_default();
            println!("{}: {} {} {body}", operation.index, wire.method, wire.path);
            println!("  Kwick:          {} {}", kwick.status, kwick.body);
            println!("  kube-apiserver: {} {}", oracle.status, oracle.body);
        }
    }

    /// Whether kube-apiserver now lists a manager twice: when a write of a scale leaves the replicas as they are, it splits what an
    /// `Update` owns besides them into two entries, in any order, and forgets one of them with the next write.
    async fn is_split(&mut self, key: &Key) -> Result<bool> {
        let look = self.oracle.about(&self.place, key, "GET", &Value::Null);
        let object = self.servers.oracle.ask(&look).await.context("kube-apiserver")?.body;
        let entries = object["metadata"]["managedFields"].as_array().map(Vec::as_slice).unwrap_or_default();
        let who =
            |entry: &Value| ["manager", "operation", "apiVersion", "subresource"].map(|name| entry[name].to_string());
        let managers: BTreeSet<[String; 4]> = entries.iter().map(who).collect();
        Ok(managers.len() < entries.len())
    }

    /// Removes what an operation was about, whatever it is now.
    async fn remove(&mut self, key: &Key, on: On) -> Result<()> {
        self.kwick.forget_revisions(key.kind);
        self.oracle.forget_revisions(key.kind);
        let opened = self.watches.iter().filter(|(_, both)| both.operation.key.kind == key.kind);
        self.disturbed.extend(opened.map(|(index, _)| *index));
        let names = if matches!(on, On::Object(_)) || !key.name.is_empty() { vec![key.name.clone()] } else { vec![] };
        let all = (1..=4).map(|number| format!("o{number}"));
        let names: Vec<String> = if on == On::Collection { all.chain(names).collect() } else { names };
        for name in names {
            let key = Key { name, ..key.clone() };
            let release = json!({"metadata": {"finalizers": null}});
            let now = json!({"gracePeriodSeconds": 0, "propagationPolicy": "Background"});
            for (method, body) in [("PATCH", &release), ("DELETE", &now)] {
                let kwick = self.kwick.about(&self.place, &key, method, body);
                let oracle = self.oracle.about(&self.place, &key, method, body);
                self.servers.both(&kwick, &oracle).await?;
            }
            self.kwick.forget(&key);
            self.oracle.forget(&key);
        }
        Ok(())
    }

    async fn open(&mut self, operation: &Operation, query: &[(String, String)]) -> Result<Option<Finding>> {
        let wire = self.kwick.watch(&self.place, operation, query);
        let theirs = self.oracle.watch(&self.place, operation, query);
        let (kwick, ours) = self.servers.kwick.endpoint().watch(&wire).await.context("Kwick")?;
        let (oracle, theirs) = self.servers.oracle.endpoint().watch(&theirs).await.context("kube-apiserver")?;
        let differences = self.servers.pairs.answers(&kwick, &oracle);
        if !differences.is_empty() {
            let (kwick, oracle) = (format!("{kwick:?}"), format!("{oracle:?}"));
            return Ok(Some(Finding { operation: operation.clone(), differences, wire, kwick, oracle }));
        }
        if let (Some(kwick), Some(oracle)) = (ours, theirs) {
            self.watches.insert(operation.index, Both { kwick, oracle, operation: operation.clone(), wire });
        }
        Ok(None)
    }

    /// Writes something that a watch must tell of, and compares everything up to that.
    async fn close(&mut self, opened: usize) -> Result<Option<Finding>> {
        let Some(mut both) = self.watches.remove(&opened) else { return Ok(None) };
        if self.disturbed.remove(&opened) {
            return Ok(None);
        }
        let (kwick, oracle) = self.last_change(&both.operation, opened).await?;
        if kwick.is_empty() || oracle.is_empty() {
            return Ok(None);
        }
        let ours = events(&mut both.kwick, &kwick).await;
        let theirs = events(&mut both.oracle, &oracle).await;
        self.events += theirs.len();
        let mut differences = Vec::new();
        for (at, theirs) in theirs.iter().enumerate() {
            let ours = ours.get(at).unwrap_or(&Value::Null);
            let found = self.servers.pairs.bodies(ours, theirs);
            differences
                .extend(found.into_iter().map(|found| Difference { path: format!("/{at}{}", found.path), ..found }));
            if !differences.is_empty() {
                break;
            }
        }
        if differences.is_empty() && ours.len() != theirs.len() {
            let (kwick, oracle) = (json!(ours.len()), json!(theirs.len()));
            differences.push(Difference { path: "/count".into(), kwick, oracle });
        }
        if differences.is_empty() {
            return Ok(None);
        }
        let show = |events: &[Value]| json!(events).to_string();
        let (kwick, oracle) = (show(&ours), show(&theirs));
        Ok(Some(Finding { operation: both.operation, differences, wire: both.wire, kwick, oracle }))
    }

    /// Changes an object that the watch selects; its resourceVersion on both sides, or nothing if there is no such change.
    async fn last_change(&mut self, watch: &Operation, mark: usize) -> Result<(String, String)> {
        let Act::Watch(query) = &watch.act else { return Ok(Default::default()) };
        let selects = |name: &str| query.iter().any(|(known, _)| known == name);
        let name = if selects("fieldSelector") { "o1" } else { "zz-mark" };
        let key = Key { name: name.to_owned(), ..watch.key.clone() };
        let metadata = json!({"name": name, "labels": {"app": "a"}, "annotations": {"mark": mark.to_string()}});
        let (method, body) = if self.kwick.has_seen(&key) || name == "zz-mark" {
            ("PATCH", json!({"metadata": metadata}))
        } else {
            let mut body = self.place.catalogue.kinds[key.kind].base.clone();
            body["metadata"] = metadata;
            ("POST", body)
        };
        let mut wires =
            (self.kwick.about(&self.place, &key, method, &body), self.oracle.about(&self.place, &key, method, &body));
        let mut answers = self.servers.both(&wires.0, &wires.1).await?;
        if answers.0.status == 404 && method == "PATCH" {
            let mut object = self.place.catalogue.kinds[key.kind].base.clone();
            object["metadata"] = body["metadata"].clone();
            wires = (
                self.kwick.about(&self.place, &key, "POST", &object),
                self.oracle.about(&self.place, &key, "POST", &object),
            );
            answers = self.servers.both(&wires.0, &wires.1).await?;
        }
        let differences = self.servers.pairs.answers(&answers.0, &answers.1);
        if !differences.is_empty() {
            self.remove(&key, On::Object("")).await?;
            return Ok(Default::default());
        }
        let ask =
            Ask { method, on: On::Object(""), query: vec![], content_type: "", body: crate::operation::Body::Nothing };
        let operation = Operation { key, ..watch.clone() };
        self.kwick.learn(&self.place, &operation, &ask, &answers.0);
        self.oracle.learn(&self.place, &operation, &ask, &answers.1);
        let revision =
            |answer: &Answer| answer.body["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
        Ok(if answers.0.is_success() { (revision(&answers.0), revision(&answers.1)) } else { Default::default() })
    }
}

/// The events up to that of a resourceVersion, without the bookmarks that come by the clock.
async fn events(watch: &mut Watch, until: &str) -> Vec<Value> {
    let mut events: Vec<Value> = Vec::new();
    while events.len() < MOST_EVENTS {
        match watch.next().await {
            Ok(event) => {
                let is_last = event["object"]["metadata"]["resourceVersion"] == until;
                let ends_initial = !event["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"].is_null();
                if event["type"] != "BOOKMARK" || ends_initial {
                    events.push(event);
                }
                if is_last {
                    break;
                }
            }
            Err(error) => {
                events.push(json!({"end": format!("{error:#}")}));
                break;
            }
        }
    }
    events
}
