//! AdmissionReview: the question that is posted, and what an answer means (admission.k8s.io/v1).

use api::{resource::Resource, status::Status};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::admission::{Request, expressions::request_document, strings, text};

/// What a webhook says.
#[derive(Debug, PartialEq)]
pub struct Answer {
    pub warnings: Vec<String>,
    /// For the audit log, without the webhook's name.
    pub annotations: Vec<(String, String)>,
    pub decision: Decision,
}

#[derive(Debug, PartialEq)]
pub enum Decision {
    Allow,
    /// Allowed with a patch: its type and its text.
    Patch {
        kind: String,
        patch: Vec<u8>,
    },
    Deny(Status),
}

/// The question, with the object and its old form in the version that the webhook knows.
pub fn question(
    version: &str,
    uid: &str,
    request: &Request<'_>,
    matched: &Resource,
    object: &Value,
    old: &Value,
) -> Value {
    let mut document = request_document(request, matched);
    document["uid"] = uid.into();
    document["object"] = object.clone();
    document["oldObject"] = old.clone();
    json!({"kind": "AdmissionReview", "apiVersion": format!("admission.k8s.io/{version}"), "request": document})
}

/// Reads the answer to the question `uid`.
pub fn answer(webhook: &str, version: &str, uid: &str, mutating: bool, review: &Value) -> Result<Answer, String> {
    let response = &review["response"];
    if !response.is_object() {
        return Err("webhook response was absent".to_owned());
    }
    let has_kind = !response["patchType"].is_null();
    let patch = STANDARD.decode(text(&response["patch"])).map_err(|error| format!("response.patch: {error}"))?;
    if version == "v1" {
        let found = text(&response["uid"]);
        if found != uid {
            return Err(format!("expected response.uid={uid:?}, got {found:?}"));
        }
        check_kind(review)?;
        match (mutating, patch.is_empty(), has_kind) {
            (true, false, false) => return Err("webhook returned response.patch but not response.patchType".into()),
            (true, true, true) => return Err("webhook returned response.patchType but not response.patch".into()),
            (true, false, true) if response["patchType"] == "" => {
                return Err("webhook returned invalid response.patchType of \"\"".into());
            }
            (false, false, _) => return Err("validating webhook may not return response.patch".into()),
            (false, _, true) => return Err("validating webhook may not return response.patchType".into()),
            _ => {}
        }
    }
    let decision = if response["allowed"] != true {
        Decision::Deny(denial(webhook, &response["status"]))
    } else if mutating && !patch.is_empty() {
        // The older version knows no other type.
        let kind = response["patchType"].as_str().unwrap_or("JSONPatch").to_owned();
        Decision::Patch { kind, patch }
    } else {
        Decision::Allow
    };
    let annotations = response["auditAnnotations"].as_object().into_iter().flatten();
    let annotations = annotations.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    let warnings = strings(&response["warnings"]).map(str::to_owned).collect();
    Ok(Answer { warnings, annotations: annotations.collect(), decision })
}

fn check_kind(review: &Value) -> Result<(), String> {
    let (api_version, kind) = (text(&review["apiVersion"]), text(&review["kind"]));
    if (api_version, kind) == ("admission.k8s.io/v1", "AdmissionReview") {
        return Ok(());
    }
    Err(format!(
        "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {api_version}, Kind={kind}"
    ))
}

/// A refusal in the webhook's words, with its code, reason and details.
fn denial(webhook: &str, status: &Value) -> Status {
    let (message, reason) = (text(&status["message"]), text(&status["reason"]));
    // What refuses must not look like a success.
    let code = status["code"].as_u64().and_then(|code| u16::try_from(code).ok());
    let code = code.filter(|code| (400..1000).contains(code)).unwrap_or(400);
    let explanation = [message, reason].into_iter().find(|text| !text.is_empty());
    let text = match explanation {
        Some(explanation) => format!("admission webhook {webhook:?} denied the request: {explanation}"),
        None => format!("admission webhook {webhook:?} denied the request without explanation"),
    };
    let mut denial = Status::new(code, reason.to_owned(), text);
    if let Some(details) = status["details"].as_object() {
        let known = |name: &String| DETAILS.contains(&name.as_str());
        let details = details.iter().filter(|(name, _)| known(name));
        denial = denial.with_details(details.map(|(name, value)| (name.clone(), value.clone())).collect());
        let seconds = status["details"]["retryAfterSeconds"].as_u64().and_then(|seconds| u32::try_from(seconds).ok());
        denial.retry_after_seconds = seconds.filter(|seconds| *seconds > 0);
    }
    denial
}

/// The fields of `StatusDetails`.
const DETAILS: [&str; 6] = ["name", "group", "kind", "uid", "causes", "retryAfterSeconds"];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mutating: bool, edit: impl FnOnce(&mut Value), expect: Result<Answer, &str>) {
        let mut review = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {"uid": "u", "allowed": true},
        });
        edit(&mut review);
        assert_eq!(answer("a.b.c", "v1", "u", mutating, &review), expect.map_err(str::to_owned), "{review}");
    }

    fn decided(decision: Decision) -> Result<Answer, &'static str> {
        Ok(Answer { warnings: Vec::new(), annotations: Vec::new(), decision })
    }

    #[test]
    fn answers_that_make_no_sense_are_told_apart() {
        let of = |field: &'static str, value: Value| move |review: &mut Value| review["response"][field] = value;
        check(true, |_| {}, decided(Decision::Allow));
        check(true, |review| review["response"] = Value::Null, Err("webhook response was absent"));
        check(true, of("uid", json!("v")), Err(r#"expected response.uid="u", got "v""#));
        let kind =
            "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got v1, Kind=AdmissionReview";
        check(true, |review| review["apiVersion"] = "v1".into(), Err(kind));
        check(true, of("patch", json!("W10=")), Err("webhook returned response.patch but not response.patchType"));
        check(
            true,
            of("patchType", json!("JSONPatch")),
            Err("webhook returned response.patchType but not response.patch"),
        );
        check(false, of("patch", json!("W10=")), Err("validating webhook may not return response.patch"));
        check(false, of("patchType", json!("JSONPatch")), Err("validating webhook may not return response.patchType"));
        let patch = Decision::Patch { kind: "JSONPatch".into(), patch: b"[]".to_vec() };
        check(
            true,
            |review| {
                review["response"] = json!({"uid": "u", "allowed": true, "patch": "W10=", "patchType": "JSONPatch"})
            },
            decided(patch),
        );
    }

    #[test]
    fn denials_keep_the_webhooks_words() {
        let deny = |status: Value, expect: Status| {
            let edit =
                move |review: &mut Value| review["response"] = json!({"uid": "u", "allowed": false, "status": status});
            check(false, edit, decided(Decision::Deny(expect)));
        };
        let text = |tail: &str| format!("admission webhook \"a.b.c\" denied the request{tail}");
        deny(json!(null), Status::new(400, "", text(" without explanation")));
        deny(json!({"message": "no"}), Status::new(400, "", text(": no")));
        deny(json!({"reason": "Forbidden", "code": 403}), Status::new(403, "Forbidden", text(": Forbidden")));
        deny(json!({"message": "no", "code": 200, "reason": "Mine"}), Status::new(400, "Mine", text(": no")));
        let details = json!({"name": "web", "causes": [{"message": "a", "field": "b"}], "retryAfterSeconds": 7});
        let mut expect = Status::new(429, "Busy", text(": later")).with_details(details.clone());
        expect.retry_after_seconds = Some(7);
        deny(json!({"message": "later", "code": 429, "reason": "Busy", "details": details}), expect);
    }
}
