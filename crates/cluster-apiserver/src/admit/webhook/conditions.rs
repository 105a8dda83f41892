//! The conditions of a webhook (`matchConditions`): expressions about the request that must all hold, or it is not asked.

use serde_json::Value;

use super::Question;
use super::hooks::Hook;
use crate::authz::Attributes;
use crate::cel::{self, Authority, CompileError, Facts, Fault, Outcome, Program, Wanted};
use crate::identity::Identity;
use crate::registry::Resource;
use crate::status::{Result, StatusError};
use crate::value::{list_at, str_at};

const NO_BUDGET: &str = "validation failed due to running out of cost budget, no further validation rules will be run";

/// One condition, compiled.
pub(super) struct Condition {
    expression: String,
    program: std::result::Result<Program, CompileError>,
}

impl Condition {
    /// Those of a webhook.
    pub(super) fn all(hook: &Value) -> Vec<Self> {
        let one = |condition: &Value| {
            let expression = str_at(condition, &["expression"]).to_owned();
            Self { program: Program::about_request(&expression, Wanted::Truth), expression }
        };
        list_at(hook, &["matchConditions"]).iter().map(one).collect()
    }
}

impl Authority for Question<'_> {
    fn allows(&self, who: Option<&Identity>, attributes: &Attributes<'_>) -> bool {
        self.core.rbac.allows(who.unwrap_or(&self.caller.identity), attributes)
    }
}

impl Question<'_> {
    /// Whether the conditions of a webhook hold. One that does not decides, also if another cannot be evaluated.
    ///
    /// # Errors
    /// 403 if that cannot be told and the webhook may not fail.
    pub(super) fn meets(&self, hook: &Hook, of: &Resource, object: &Value, old: &Value) -> Result<bool> {
        if hook.conditions.is_empty() {
            return Ok(true);
        }
        let request = self.request(of);
        let facts = Facts { object, old, request: &request, authority: self };
        match evaluate(&hook.conditions, facts) {
            Ok(holds) => Ok(holds),
            Err(_) if hook.may_fail => Ok(false),
            Err(why) => {
                tracing::warn!(webhook = hook.name, why, "failed evaluating match conditions, failing closed");
                Err(StatusError::forbidden(&self.resource.group, &self.resource.plural, self.name, &why))
            }
        }
    }
}

fn evaluate(conditions: &[Condition], facts: Facts<'_>) -> std::result::Result<bool, String> {
    let (mut left, mut errors) = (cel::CONDITIONS_LIMIT, Vec::new());
    for Condition { expression, program } in conditions {
        let failed = |why: &str| format!("expression '{expression}' resulted in error: {why}");
        let program = match program {
            Ok(program) => program,
            Err(why) => {
                errors.push(format!("compilation error: {}", why.told(Wanted::Truth)));
                continue;
            }
        };
        match program.decide(facts, &mut left) {
            Ok(Outcome::Truth(true)) => {}
            Ok(Outcome::Truth(false)) => return Ok(false),
            Ok(Outcome::Text(_)) => errors.push(failed("no such overload")),
            Err(Fault::Cost) if left == 0 => return Err(NO_BUDGET.to_owned()),
            Err(Fault::Cost) => errors.push(failed("operation cancelled: actual cost limit exceeded")),
            Err(Fault::Error(why)) => errors.push(failed(&why)),
        }
    }
    match errors.as_slice() {
        [] => Ok(true),
        [one] => Err(one.clone()),
        many => Err(format!("[{}]", many.join(", "))),
    }
}
