//! Requests for certificates: kubelets' are approved where they may ask, approved ones are signed by the cluster's
//! authority, and old ones go.
//!
//! | file | decides |
//! |---|---|
//! | `request` | what a request asks for, and whether that is what its signer certifies |
//! | `approve` | which requests need nobody's approval |
//! | `sign` | what is certified, and for how long |
//! | `clean` | when a request has served its purpose |

mod approve;
mod clean;
mod request;
mod sign;

pub use approve::Approval;
pub use clean::Cleaning;
pub use sign::Signing;

use client::{
    Key,
    caches::Changes,
    objects::{CertificateSigningRequest, Object},
    requests::Patch,
};
use serde_json::json;

use crate::plan::{Action, precondition};

const APPROVED: &str = "Approved";
const DENIED: &str = "Denied";
const FAILED: &str = "Failed";

fn touched(changes: &Changes, add: &mut dyn FnMut(Key)) {
    if let Changes::CertificateSigningRequest(changes) = changes {
        changes.iter().for_each(|change| add(change.key.clone()));
    }
}

/// Adds something to a request's status, at one of its subresources.
fn write(request: &CertificateSigningRequest, subresource: &'static str, status: serde_json::Value) -> Action {
    Action::Patch {
        kind: CertificateSigningRequest::KIND,
        key: request.key(),
        subresource,
        form: Patch::Merge,
        patch: json!({"metadata": precondition(&request.metadata), "status": status}),
    }
}

/// The request's conditions with one more, which is true.
fn with_condition(request: &CertificateSigningRequest, condition: client::objects::Condition) -> serde_json::Value {
    let condition = client::objects::Condition { status: "True".into(), ..condition };
    json!(request.status.conditions.iter().chain([&condition]).collect::<Vec<_>>())
}
