//! What somebody may do, asked step by step: `authorizer.group('apps').resource('deployments').namespace('a').check('get').allowed()`.

use std::rc::Rc;

use super::super::eval::{Evaluated, Evaluation, Fault};
use super::super::value::Val;
use crate::authz::Attributes;
use crate::identity::Identity;
use crate::names;

/// What one question costs, which leaves room for two in an expression.
const CHECK_COST: usize = 350_000;

/// Who knows what somebody may do.
pub(crate) trait Authority {
    /// Whether somebody may do something; nobody is who asks.
    fn allows(&self, who: Option<&Identity>, attributes: &Attributes<'_>) -> bool;
}

/// A question that is being put together.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Check {
    /// `None` for who sends the request.
    pub(in super::super) who: Option<Rc<Identity>>,
    pub(in super::super) of: Step,
    pub(in super::super) path: Rc<str>,
    pub(in super::super) group: Rc<str>,
    pub(in super::super) resource: Rc<str>,
    pub(in super::super) subresource: Rc<str>,
    pub(in super::super) namespace: Rc<str>,
    pub(in super::super) name: Rc<str>,
}

/// What a question is about so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) enum Step {
    #[default]
    Whatever,
    Path,
    Group,
    Resource,
}

impl Attributes<'_> {
    fn of(check: &Check) -> Attributes<'_> {
        Attributes {
            verb: "",
            group: &check.group,
            resource: &check.resource,
            subresource: &check.subresource,
            namespace: &check.namespace,
            name: &check.name,
            path: &check.path,
        }
    }
}

pub(super) fn call<'a>(evaluation: &mut Evaluation<'a>, name: &str, args: &[Val<'a>]) -> Option<Evaluated<'a>> {
    if let [Val::Decision(allowed)] = args {
        return Some(Ok(match name {
            "allowed" => Val::Bool(*allowed),
            "errored" => Val::Bool(false),
            "error" | "reason" => Val::text(""),
            _ => return None,
        }));
    }
    let (Val::Check(check), rest) = args.split_first()? else { return None };
    if let ("serviceAccount", Step::Whatever, [Val::Text(namespace), Val::Text(account)]) = (name, check.of, rest) {
        let wrong = [names::dns1123_label(namespace), names::dns1123_subdomain(account)].concat();
        return Some(match wrong.as_slice() {
            [] => {
                let who = Some(Rc::new(Identity::service_account(namespace, account)));
                Ok(Val::Check(Rc::new(Check { who, ..Check::default() })))
            }
            wrong => Fault::error(format!("Invalid service account: {}", wrong.join(", "))),
        });
    }
    let [Val::Text(text)] = rest else { return None };
    if let ("check", Step::Path | Step::Resource) = (name, check.of) {
        let decided = evaluation.budget.spend(CHECK_COST).map(|()| {
            let attributes = Attributes { verb: text, ..Attributes::of(check) };
            evaluation.authority.is_some_and(|authority| authority.allows(check.who.as_deref(), &attributes))
        });
        return Some(decided.map(Val::Decision));
    }
    let mut next = check.as_ref().clone();
    let field = match (name, check.of) {
        ("path", Step::Whatever) => &mut next.path,
        ("group", Step::Whatever) => &mut next.group,
        ("resource", Step::Group) => &mut next.resource,
        ("subresource", Step::Resource) => &mut next.subresource,
        ("namespace", Step::Resource) => &mut next.namespace,
        ("name", Step::Resource) => &mut next.name,
        // Rules do not tell objects apart by these.
        ("fieldSelector" | "labelSelector", Step::Resource) => return Some(Ok(Val::Check(Rc::clone(check)))),
        _ => return None,
    };
    *field = text.as_ref().into();
    next.of = match name {
        "path" => Step::Path,
        "group" => Step::Group,
        _ => Step::Resource,
    };
    Some(Ok(Val::Check(Rc::new(next))))
}
