//! The plan that a chat carries out: ticked by the model, kept in the chat's row. Pure.

use serde_json::{Value, json};

use super::content::{Plan, PlanStatus};

/// The plan after `update_plan` with these arguments, and what the model is told; an error where
/// there is no plan or no such step.
pub(super) fn ticked(plan: Option<&Plan>, args: &Value) -> Result<(Plan, Value), Value> {
    let refuse =
        |code: &str, message: String| Err(json!({ "error": { "code": code, "message": message } }));
    let Some(plan) = plan else {
        return refuse("no_plan", "The chat has no approved plan.".to_owned());
    };
    let mut plan = plan.clone();
    for change in args["steps"].as_array().into_iter().flatten() {
        let number = change["step"].as_u64().and_then(|step| usize::try_from(step).ok());
        let steps = plan.steps.len();
        let step =
            number.and_then(|step| step.checked_sub(1)).and_then(|at| plan.steps.get_mut(at));
        let Some(step) = step else {
            return refuse("no_such_step", format!("The plan has the steps 1 to {steps}."));
        };
        step.status = match change["status"].as_str() {
            Some("in_progress") => PlanStatus::InProgress,
            Some("done") => PlanStatus::Done,
            Some("skipped") => PlanStatus::Skipped,
            _ => PlanStatus::Pending,
        };
    }
    let left = plan
        .steps
        .iter()
        .filter(|step| !matches!(step.status, PlanStatus::Done | PlanStatus::Skipped))
        .count();
    let told = json!({ "steps": plan.steps.len(), "left": left });
    Ok((plan, told))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::content::PlanStep;

    #[test]
    fn steps_are_ticked_by_their_number_or_none_is() {
        let step = |text: &str| PlanStep { text: text.into(), status: PlanStatus::Pending };
        let plan = Plan { title: "t".into(), steps: vec![step("a"), step("b")] };
        let args =
            json!({"steps": [{"step": 1, "status": "done"}, {"step": 2, "status": "in_progress"}]});
        let (after, told) = ticked(Some(&plan), &args).unwrap();
        assert_eq!(after.steps[0].status, PlanStatus::Done);
        assert_eq!(after.steps[1].status, PlanStatus::InProgress);
        assert_eq!(told, json!({"steps": 2, "left": 1}));
        let beyond =
            json!({"steps": [{"step": 1, "status": "done"}, {"step": 3, "status": "done"}]});
        assert_eq!(ticked(Some(&plan), &beyond).unwrap_err()["error"]["code"], "no_such_step");
        assert_eq!(ticked(None, &args).unwrap_err()["error"]["code"], "no_plan");
    }
}
