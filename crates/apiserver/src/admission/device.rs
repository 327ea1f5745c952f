//! The CEL selectors of devices in classes, claims and templates: what they see, and that they compile.

use std::sync::{Arc, LazyLock};

use api::field::{FieldError, FieldErrors, Path};
use serde_json::Value;

use super::{elements, text};
use crate::cel::{
    CALL_LIMIT, compile_with_bind,
    types::{Declared, MapType, Type},
};

/// Attributes or capacities of one device (`ResourceSliceMaxAttributesAndCapacitiesPerDevice`).
const MAX_ATTRIBUTES: u64 = 32;
const MAX_EXPRESSION_BYTES: usize = 10 * 1024;

/// `device`, with the sizes that a slice of devices allows.
static VARIABLES: LazyLock<Vec<(Box<str>, Declared)>> = LazyLock::new(|| {
    let text = |max_size| Declared { ty: Type::String, max_size };
    let map = |key, value| Declared { ty: Type::Map(Arc::new(MapType { key, value })), max_size: MAX_ATTRIBUTES };
    let by_name = |value| map(text(63), map(text(32), value));
    let fields = [
        ("driver", text(63)),
        ("allowMultipleAllocations", Declared { ty: Type::Bool, max_size: 1 }),
        ("attributes", by_name(Declared { ty: Type::Dyn, max_size: 64 })),
        ("capacity", by_name(Declared { ty: Type::Opaque("kubernetes.Quantity"), max_size: 1 })),
    ];
    vec![("device".into(), Declared::unbounded(Type::sized_object("kubernetes.DRADevice", fields)))]
});

pub fn class(class: &Value, errors: &mut FieldErrors) {
    selectors(&class["spec"]["selectors"], &Path::new("spec").child("selectors"), errors);
}

pub fn claim(claim: &Value, errors: &mut FieldErrors) {
    requests(&claim["spec"], &Path::new("spec"), errors);
}

pub fn claim_template(template: &Value, errors: &mut FieldErrors) {
    requests(&template["spec"]["spec"], &Path::new("spec").child("spec"), errors);
}

fn requests(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let devices = path.child("devices");
    let place = devices.child("requests");
    for (index, request) in elements(&spec["devices"]["requests"]).iter().enumerate() {
        let item = place.index(index);
        selectors(&request["exactly"]["selectors"], &item.child("exactly").child("selectors"), errors);
        let alternatives = item.child("firstAvailable");
        for (index, alternative) in elements(&request["firstAvailable"]).iter().enumerate() {
            selectors(&alternative["selectors"], &alternatives.index(index).child("selectors"), errors);
        }
    }
}

fn selectors(list: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    for (index, selector) in elements(list).iter().enumerate() {
        if selector["cel"].is_null() {
            continue;
        }
        let item = path.index(index);
        let cel = item.child("cel");
        let place = cel.child("expression");
        let expression = text(&selector["cel"]["expression"]);
        if expression.len() > MAX_EXPRESSION_BYTES {
            errors.push(FieldError::too_long(&place, MAX_EXPRESSION_BYTES));
            continue;
        }
        match compile_with_bind(expression, &VARIABLES) {
            Err(error) => {
                let detail = format!("compilation failed: {}", error.describe(expression));
                errors.push(FieldError::invalid(&place, expression, detail));
            }
            // The value of an attribute has a type only when it is looked at.
            Ok(program) if !matches!(program.result, Type::Bool | Type::Dyn) => {
                let got = program.result.declared_name();
                let detail = format!("must evaluate to bool or the unknown type, not {got}");
                errors.push(FieldError::invalid(&place, expression, detail));
            }
            Ok(program) if program.max_cost > CALL_LIMIT => {
                errors.push(FieldError::forbidden(&place, "too complex, exceeds cost limit"));
            }
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_compile_where_they_are_written() {
        let check = |expression: &str, expect: &[&str]| {
            let mut errors = FieldErrors::new();
            class(&json!({"spec": {"selectors": [{"cel": {"expression": expression}}]}}), &mut errors);
            let place = "spec.selectors[0].cel.expression: ";
            let expect: Vec<String> = expect.iter().map(|text| format!("{place}{text}")).collect();
            assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), expect, "{expression}");
        };
        check("device.driver == 'x'", &[]);
        check("device.attributes['a'].b", &[]);
        check("device.attributes['a'].b.matches('x') || device.allowMultipleAllocations", &[]);
        check("device.capacity['a'].b.compareTo(quantity('1')) > 0", &[]);
        check("cel.bind(dra, device.attributes['dra.example.com'], dra.oneBool && dra.anotherBool)", &[]);
        check("device.attributes.all(d, device.attributes[d].all(k, device.attributes[d][k] == 1))", &[]);
        let not = "must evaluate to bool or the unknown type, not";
        check("1", &[&format!("Invalid value: \"1\": {not} int")]);
        check("device.driver", &[&format!("Invalid value: \"device.driver\": {not} string")]);
        check(
            "device.capacity['a']",
            &[&format!("Invalid value: \"device.capacity['a']\": {not} map(string, kubernetes.Quantity)")],
        );
        check(
            "device.nobody == 1",
            &[
                "Invalid value: \"device.nobody == 1\": compilation failed: ERROR: <input>:1:7: undefined field 'nobody'\n | device.nobody == 1\n | ......^",
            ],
        );
        check(
            "device.attributes.exists(k, device.attributes.exists(j, device.attributes.exists(l, device.attributes.exists(m, true))))",
            &["Forbidden: too complex, exceeds cost limit"],
        );
        check("cel.bind(a, device.attributes['example.com'], a.size == '1' && a.kind == 'x')", &[]);
        check(&"x".repeat(MAX_EXPRESSION_BYTES + 1), &["Too long: may not be more than 10240 bytes"]);
    }

    #[test]
    fn selectors_of_claims_and_templates_are_found() {
        let broken = json!([{"cel": {"expression": "1"}}]);
        let spec = json!({"devices": {"requests": [
            {"name": "a", "exactly": {"selectors": broken}}, {"name": "b", "firstAvailable": [{"selectors": broken}]},
        ]}});
        let mut errors = FieldErrors::new();
        claim(&json!({"spec": spec}), &mut errors);
        claim_template(&json!({"spec": {"spec": spec}}), &mut errors);
        let places: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
        let within = ["requests[0].exactly.selectors[0]", "requests[1].firstAvailable[0].selectors[0]"];
        let expect = ["spec", "spec.spec"]
            .iter()
            .flat_map(|spec| within.map(|at| format!("{spec}.devices.{at}.cel.expression")));
        assert_eq!(places, expect.collect::<Vec<_>>());
    }
}
