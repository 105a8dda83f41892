//! Expressions about a request: the conditions of webhooks.
//!
//! Of objects nothing is known before they are there, so their fields are looked for as they stand; `request` and `authorizer` have types.

use std::rc::Rc;
use std::sync::LazyLock;

use serde_json::{Value as Json, json};

use super::library::authz::{Authority, Check, Step};
use super::types::{AUTHORIZER, RESOURCE_CHECK, Ty, anything};
use super::value::Val;
use super::{CompileError, Fault, Outcome, Program, Wanted};
use crate::schema::Schema;
use crate::value::str_at;

/// What all conditions of one webhook may cost for one request.
pub(crate) const CONDITIONS_LIMIT: u64 = 2_500_000;

/// The questioner's own resource, which is named as if it were a field of the authorizer.
pub(super) const REQUEST_RESOURCE: &str = "authorizer.requestResource";

/// A request, as an `AdmissionReview` has it but for the objects.
static REQUEST: LazyLock<Schema> = LazyLock::new(|| {
    let text = json!({"type": "string"});
    let texts = json!({"type": "array", "items": text});
    let object = |names: &[&str]| {
        let fields: serde_json::Map<String, Json> =
            names.iter().map(|name| ((*name).to_owned(), text.clone())).collect();
        json!({"type": "object", "properties": fields})
    };
    let kind = object(&["group", "version", "kind"]);
    let resource = object(&["group", "version", "resource"]);
    let mut user = object(&["username", "uid"]);
    user["properties"]["groups"] = texts.clone();
    user["properties"]["extra"] = json!({"type": "object", "additionalProperties": texts});
    let mut request = object(&["subResource", "requestSubResource", "name", "namespace", "operation"]);
    for (name, of) in [
        ("kind", &kind),
        ("requestKind", &kind),
        ("resource", &resource),
        ("requestResource", &resource),
        ("userInfo", &user),
        ("dryRun", &json!({"type": "boolean"})),
        // Of unknown type, as a number or a text is.
        ("options", &json!({"x-kubernetes-int-or-string": true})),
    ] {
        request["properties"][name] = of.clone();
    }
    Schema::parse(&request)
});

/// What an expression about a request is evaluated for.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a> {
    /// The object as it will be, `Null` if it goes away.
    pub(crate) object: &'a Json,
    /// The object as it is, `Null` if it is new.
    pub(crate) old: &'a Json,
    pub(crate) request: &'a Json,
    pub(crate) authority: &'a dyn Authority,
}

impl Program {
    /// Parses and checks an expression about a request.
    ///
    /// # Errors
    /// It is none, or does not give what is wanted.
    pub(crate) fn about_request(source: &str, wanted: Wanted) -> Result<Self, CompileError> {
        let variables = vec![
            ("object".into(), Ty::Dyn),
            ("oldObject".into(), Ty::Dyn),
            ("namespaceObject".into(), Ty::Dyn),
            ("request".into(), Ty::Object(&REQUEST, false)),
            ("authorizer".into(), Ty::Opaque(AUTHORIZER)),
            (REQUEST_RESOURCE.into(), Ty::Opaque(RESOURCE_CHECK)),
        ];
        Self::checked(source, variables, wanted, None)
    }

    /// Evaluates it for a request; `left` is what may be spent, and is.
    ///
    /// # Errors
    /// It gives nothing, or costs too much.
    pub(crate) fn decide(&self, facts: Facts<'_>, left: &mut u64) -> Result<Outcome, Fault> {
        let Facts { object, old, request, authority } = facts;
        let text = |path: &[&str]| Rc::from(str_at(request, path));
        let own = Check {
            of: Step::Resource,
            group: text(&["requestResource", "group"]),
            resource: text(&["requestResource", "resource"]),
            subresource: text(&["requestSubResource"]),
            namespace: text(&["namespace"]),
            name: text(&["name"]),
            ..Check::default()
        };
        let variables = vec![
            ("object", Val::of(object, anything(), false)),
            ("oldObject", Val::of(old, anything(), false)),
            // Webhooks are not told of the namespace itself.
            ("namespaceObject", Val::Null),
            ("request", Val::of(request, &REQUEST, false)),
            ("authorizer", Val::Check(Rc::new(Check::default()))),
            (REQUEST_RESOURCE, Val::Check(Rc::new(own))),
        ];
        self.run(variables, Some(authority), left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::Attributes;
    use crate::identity::Identity;

    /// Who may only see secrets in a namespace, and a ServiceAccount may see health.
    struct Rules;

    impl Authority for Rules {
        fn allows(&self, who: Option<&Identity>, asked: &Attributes<'_>) -> bool {
            let resource = (asked.verb, asked.group, asked.resource, asked.subresource, asked.namespace, asked.name);
            match who {
                None => resource == ("get", "", "secrets", "", "ns", "s") || resource.2 == "pods",
                Some(who) => who.username == "system:serviceaccount:a:b" && asked.path == "/healthz",
            }
        }
    }

    fn request() -> Json {
        json!({
            "kind": {"group": "", "version": "v1", "kind": "Pod"}, "operation": "CREATE", "name": "p", "namespace": "ns",
            "requestResource": {"group": "", "version": "v1", "resource": "pods"}, "dryRun": false,
            "userInfo": {"username": "me", "groups": ["g"], "extra": {"k": ["v"]}}, "options": {"fieldManager": "f"},
        })
    }

    fn outcome(source: &str) -> Result<Outcome, Fault> {
        let object = json!({
            "metadata": {"labels": {"a/b": "c"}, "a-b": 1}, "list": [{"x": 1.5}, {"x": 2}], "package": true, "a__dot__b": 1,
        });
        let request = request();
        let facts = Facts { object: &object, old: &Json::Null, request: &request, authority: &Rules };
        let program = Program::about_request(source, Wanted::Truth).unwrap_or_else(|why| panic!("{source}: {why:?}"));
        program.decide(facts, &mut CONDITIONS_LIMIT.clone())
    }

    #[test]
    fn what_a_condition_sees() {
        for source in [
            "object.metadata.labels['a/b'] == 'c' && has(object.metadata.labels) && !has(object.metadata.name)",
            "object.list[0].x == 1.5 && object.list.exists(i, i.x == 2) && object.metadata['a-b'] + 1 == 2",
            "oldObject == null && type(object) == map && object.a__dot__b == 1",
            "request.operation == 'CREATE' && request.kind.kind == 'Pod' && !request.dryRun",
            "request.userInfo.username == 'me' && 'g' in request.userInfo.groups && request.userInfo.extra['k'][0] == 'v'",
            "request.options.fieldManager == 'f' && !has(request.subResource)",
            "object.metadata.?name.orValue('none') == 'none'",
            "authorizer.group('').resource('secrets').namespace('ns').name('s').check('get').allowed()",
            "!authorizer.group('').resource('secrets').namespace('ns').check('get').allowed()",
            "authorizer.requestResource.check('create').allowed() && authorizer.requestResource.check('x').reason() == ''",
            "authorizer.serviceAccount('a', 'b').path('/healthz').check('get').allowed()",
            "!authorizer.path('/healthz').check('get').allowed() && !authorizer.path('/x').check('get').errored()",
        ] {
            assert_eq!(outcome(source), Ok(Outcome::Truth(true)), "{source}");
        }
        assert_eq!(outcome("object.metadata.name == 'x'"), Err(Fault::Error("no such key: name".to_owned())));
        let thrice = "[1, 2, 3].all(x, !authorizer.path('/x').check('get').allowed())";
        assert_eq!(outcome(thrice), Err(Fault::Cost), "a question is dear");
    }

    #[test]
    fn what_is_refused_before() {
        let refused = |source: &str| Program::about_request(source, Wanted::Truth).map(|_| ());
        let said = |source: &str| match refused(source) {
            Err(CompileError::Syntax(text)) => text,
            other => panic!("{source}: {other:?}"),
        };
        assert!(said("request.object.x == 1").contains("undefined field 'object'"));
        assert!(said("params.x == 1").contains("undeclared reference to 'params'"));
        assert!(said("self.x == 1").contains("undeclared reference to 'self'"));
        assert!(said("authorizer.check('x').allowed()").contains("found no matching overload for 'check'"));
        assert_eq!(refused("request.name"), Err(CompileError::Type("string".to_owned())));
        assert_eq!(refused("object.x"), Err(CompileError::Type("dyn".to_owned())));
    }
}
