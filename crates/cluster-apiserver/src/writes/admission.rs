//! Admission of a write: plug-ins, in-process admissions, webhooks, in the order that [`admit`](crate::admit) says.

use serde_json::{Value, json};

use super::ownership::{put_fields, take_fields};
use super::{Context, DeleteOptions};
use crate::admit::limit_range;
use crate::admit::lookup::StoreLookup;
use crate::admit::webhook::{Question, Rounds};
use crate::admit::{Admission, AdmissionRequest, Operation};
use crate::kinds;
use crate::status::Result;
use crate::value::str_at;

/// How webhooks see an object that is written through a subresource of another kind.
pub(crate) trait View: Sync {
    /// The kind that they see, as `apiVersion` and `kind`.
    fn kind(&self) -> (&'static str, &'static str);

    /// What they see of the object.
    fn show(&self, object: &Value) -> Value;

    /// The object with what they have changed.
    fn lay(&self, object: &Value, shown: &Value) -> Value;
}

/// A write, as admission sees it.
#[derive(Clone, Copy)]
pub(super) struct Change<'a> {
    /// Without managedFields; none for a create.
    pub(super) old: Option<&'a Value>,
    /// The managedFields of the new object, which are not in it.
    pub(super) fields: Option<&'a Value>,
    /// The managedFields of the old one.
    pub(super) old_fields: Option<&'a Value>,
}

impl Change<'_> {
    fn operation(&self) -> Operation {
        if self.old.is_some() { Operation::Update } else { Operation::Create }
    }
}

impl Context<'_> {
    /// Whatever may change an object before it is checked.
    ///
    /// # Errors
    /// Somebody refuses it.
    pub(super) async fn mutate(&self, object: Value, change: Change<'_>, warnings: &mut Vec<String>) -> Result<Value> {
        let object = self.mutate_here(object, change, warnings)?;
        if !self.asks_webhooks(true) {
            return Ok(object);
        }
        let name = str_at(&object, &["metadata", "name"]).to_owned();
        let question = self.question(change.operation(), &name);
        let old = change.old.map_or(Value::Null, |old| self.show(old, change.old_fields));
        let mut rounds = Rounds::default();
        let mut object = object;
        loop {
            let before = self.show(&object, change.fields);
            let after = question.mutate(before.clone(), &old, &mut rounds, warnings).await?;
            if after != before {
                object = self.lay(object, after);
            }
            if !rounds.wants_second() {
                return Ok(object);
            }
            object = self.mutate_here(object, change, warnings)?;
            rounds.begin_second(&self.show(&object, change.fields));
        }
    }

    /// Whoever may refuse an object as it will be stored.
    ///
    /// # Errors
    /// Somebody does.
    pub(super) async fn validate(&self, object: &Value, change: Change<'_>, warnings: &mut Vec<String>) -> Result<()> {
        limit_range::check(self, change.operation(), object, change.old)?;
        self.validate_here(change.operation(), object, change.old, warnings).await?;
        if !self.asks_webhooks(false) {
            return Ok(());
        }
        let name = str_at(object, &["metadata", "name"]).to_owned();
        let question = self.question(change.operation(), &name);
        let old = change.old.map_or(Value::Null, |old| self.show(old, change.old_fields));
        question.validate(&self.show(object, change.fields), &old, warnings).await
    }

    /// Whoever may keep an object from being deleted.
    ///
    /// # Errors
    /// Somebody does.
    pub(super) async fn admit_delete(
        &self,
        old: &Value,
        options: &DeleteOptions,
        warnings: &mut Vec<String>,
    ) -> Result<()> {
        if self.asks_webhooks(true) || self.asks_webhooks(false) {
            let name = str_at(old, &["metadata", "name"]);
            let question = Question { options: self.delete_options(options), ..self.question(Operation::Delete, name) };
            question.mutate(Value::Null, old, &mut Rounds::default(), warnings).await?;
            self.validate_here(Operation::Delete, &Value::Null, Some(old), warnings).await?;
            return question.validate(&Value::Null, old, warnings).await;
        }
        self.validate_here(Operation::Delete, &Value::Null, Some(old), warnings).await
    }

    /// Asks webhooks about an object of another kind that is posted below the object `name`; answers with what they make of it.
    ///
    /// # Errors
    /// One of them refuses it.
    pub(crate) async fn admit_posted(
        &self,
        name: &str,
        kind: (&str, &str),
        object: Value,
        warnings: &mut Vec<String>,
    ) -> Result<Value> {
        let question = Question { kind: Some(kind), ..self.question(Operation::Create, name) };
        self.admit_alone(&question, object, warnings).await
    }

    /// Asks webhooks about a connection to the object `name`.
    ///
    /// # Errors
    /// One of them refuses it.
    pub(crate) async fn admit_connect(&self, name: &str, kind: (&str, &str), options: Value) -> Result<()> {
        let question = self.question(Operation::Create, name);
        let question = Question { kind: Some(kind), operation: "CONNECT", options: Value::Null, ..question };
        self.admit_alone(&question, options, &mut Vec::new()).await.map(drop)
    }

    async fn admit_alone(&self, question: &Question<'_>, object: Value, warnings: &mut Vec<String>) -> Result<Value> {
        let mut rounds = Rounds::default();
        let mut object = question.mutate(object, &Value::Null, &mut rounds, warnings).await?;
        if rounds.wants_second() {
            rounds.begin_second(&object);
            object = question.mutate(object, &Value::Null, &mut rounds, warnings).await?;
        }
        question.validate(&object, &Value::Null, warnings).await?;
        Ok(object)
    }

    /// The built-in plug-ins and the mutating admissions of this process.
    fn mutate_here(&self, object: Value, change: Change<'_>, warnings: &mut Vec<String>) -> Result<Value> {
        let mut object = object;
        let old = change.old;
        if self.subresource.is_empty() {
            let operation = if old.is_some() { kinds::Operation::Update } else { kinds::Operation::Create };
            let cluster = StoreLookup(&self.core.store);
            let admission = kinds::Admission { operation, old, cluster: &cluster, random: self.core.entropy.number() };
            let admitted = self.resource.admit(&mut object, &admission);
            admitted
                .map_err(|denied| self.resource.forbidden(str_at(&object, &["metadata", "name"]), &denied.message))?;
        }
        let interested = self.interested();
        if interested.is_empty() {
            return Ok(object);
        }
        let mut request = self.request(change.operation(), object, old);
        for admission in interested {
            warnings.extend(admission.mutate(&mut request)?);
        }
        let mut object = request.object;
        self.resource.set_type(&mut object);
        self.resource.default(&mut object);
        Ok(object)
    }

    /// The validating admissions of this process.
    async fn validate_here(
        &self,
        operation: Operation,
        object: &Value,
        old: Option<&Value>,
        warnings: &mut Vec<String>,
    ) -> Result<()> {
        let interested = self.interested();
        if interested.is_empty() {
            return Ok(());
        }
        let request = self.request(operation, object.clone(), old);
        for admission in interested {
            warnings.extend(admission.validate(&request)?);
            if let Some(consultation) = admission.consult(&request) {
                consultation.await?;
            }
        }
        Ok(())
    }

    fn interested(&self) -> Vec<&dyn Admission> {
        let admissions = self.core.admissions.iter().map(AsRef::as_ref);
        admissions.filter(|admission| admission.handles(&self.resource.group, &self.resource.plural)).collect()
    }

    fn request(&self, operation: Operation, object: Value, old: Option<&Value>) -> AdmissionRequest {
        let named = if object.is_null() { old.unwrap_or(&Value::Null) } else { &object };
        AdmissionRequest {
            operation,
            group: self.resource.group.clone(),
            version: self.resource.version.clone(),
            kind: self.resource.kind.clone(),
            resource: self.resource.plural.clone(),
            subresource: self.subresource.to_owned(),
            namespace: self.namespace.to_owned(),
            name: str_at(named, &["metadata", "name"]).to_owned(),
            old_object: old.cloned().unwrap_or_default(),
            user: self.caller.identity.clone(),
            is_dry_run: self.is_dry_run,
            object,
        }
    }

    fn asks_webhooks(&self, mutating: bool) -> bool {
        !self.is_admitted && self.core.webhooks.are_any(&self.core.store, mutating)
    }

    fn question<'a>(&'a self, operation: Operation, name: &'a str) -> Question<'a> {
        let (operation, options) = match operation {
            Operation::Create => ("CREATE", "CreateOptions"),
            Operation::Update => ("UPDATE", "UpdateOptions"),
            Operation::Delete => ("DELETE", "DeleteOptions"),
        };
        Question {
            core: self.core,
            caller: self.caller,
            resource: self.resource,
            subresource: self.subresource,
            namespace: self.namespace,
            name,
            operation,
            kind: self.view.map(View::kind),
            options: self.options(options),
            is_dry_run: self.is_dry_run,
        }
    }

    fn options(&self, kind: &str) -> Value {
        let mut options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
        if self.is_dry_run {
            options["dryRun"] = json!(["All"]);
        }
        for name in ["fieldManager", "fieldValidation"] {
            if let Some(text) = self.query.get(name).filter(|text| kind != "DeleteOptions" && !text.is_empty()) {
                options[name] = text.into();
            }
        }
        options
    }

    fn delete_options(&self, given: &DeleteOptions) -> Value {
        let mut options = self.options("DeleteOptions");
        if let Some(seconds) = given.grace_period_s {
            options["gracePeriodSeconds"] = seconds.into();
        }
        if let Some(propagation) = given.propagation {
            options["propagationPolicy"] = format!("{propagation:?}").into();
        }
        if let Some(orphans) = given.orphan_dependents {
            options["orphanDependents"] = orphans.into();
        }
        for (name, text) in [("uid", &given.uid), ("resourceVersion", &given.resource_version)] {
            if let Some(text) = text {
                options["preconditions"][name] = text.as_str().into();
            }
        }
        options
    }

    /// An object as webhooks see it.
    fn show(&self, object: &Value, fields: Option<&Value>) -> Value {
        if let Some(view) = self.view {
            return view.show(object);
        }
        let mut object = object.clone();
        put_fields(&mut object, fields.cloned());
        object
    }

    /// The object with what webhooks have made of it; whose its fields are is not theirs to say.
    fn lay(&self, object: Value, shown: Value) -> Value {
        if let Some(view) = self.view {
            return view.lay(&object, &shown);
        }
        let mut shown = shown;
        take_fields(&mut shown);
        shown
    }
}
