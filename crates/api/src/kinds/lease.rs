//! Leases.

use serde_json::Value;

use super::{
    check::{Node, check, text},
    columns::{self},
    edit,
};
use crate::{resource::Column, strategy::Strategy};

pub const STRATEGY: Strategy = Strategy {
    default,
    validate: |object, errors| check(object, errors, validate),
    create_on_update: true,
    unconditional_update: false,
    ..Strategy::DEFAULT
};

/// Fields of coordinated leader election, which is off.
fn default(lease: &mut Value) {
    if let Some(spec) = edit::at_mut(lease, &["spec"]) {
        edit::remove(spec, "strategy");
        edit::remove(spec, "preferredHolder");
    }
}

fn validate(root: &Node<'_>) {
    let spec = root.get("spec");
    let duration = spec.get("leaseDurationSeconds");
    if duration.is_set() && duration.integer() <= 0 {
        duration.invalid("must be greater than 0");
    }
    spec.get("leaseTransitions").non_negative();
}

pub fn columns() -> Vec<Column> {
    vec![
        columns::name(),
        columns::text("Holder", "Who holds it.", |lease, _| text(&lease["spec"], "holderIdentity").into()),
        columns::age(),
    ]
}
