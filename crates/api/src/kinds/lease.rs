//! Leases.

use super::{
    check::{Node, check, text},
    columns::{self},
};
use crate::{resource::Column, strategy::Strategy, syntax};

pub const STRATEGY: Strategy = Strategy {
    validate: |object, errors| check(object, errors, validate),
    create_on_update: true,
    unconditional_update: false,
    ..Strategy::DEFAULT
};

fn validate(root: &Node<'_>) {
    let spec = root.get("spec");
    let duration = spec.get("leaseDurationSeconds");
    if duration.is_set() && duration.integer() <= 0 {
        duration.invalid("must be greater than 0");
    }
    spec.get("leaseTransitions").non_negative();
    let strategy = spec.get("strategy");
    if strategy.is_set() {
        // Kubernetes names the field twice.
        let at = strategy.get("strategy");
        let at = at.showing(strategy.value);
        if strategy.text().contains('/') {
            at.syntax(syntax::is_qualified_name);
        } else if strategy.text() != "OldestEmulationVersion" {
            at.not_supported(&["OldestEmulationVersion"]);
        }
    }
    if !spec.get("preferredHolder").is_empty() && strategy.is_empty() {
        spec.get("preferredHolder").forbidden("may only be specified if `strategy` is defined");
    }
}

pub fn columns() -> Vec<Column> {
    vec![
        columns::name(),
        columns::text("Holder", "Who holds it.", |lease, _| text(&lease["spec"], "holderIdentity").into()),
        columns::age(),
    ]
}
