//! What a policy's author is told of expressions that fit no object they could see. Nothing depends on it:
//! a policy is written before the kinds it is about are known, and runs on whatever they turn out to be.

use std::{collections::HashMap, sync::Arc};

use api::{registry::Registry, resource::Resource};
use document::{
    TypeId,
    types::{ListTopology, Scalar, Shape},
};
use serde_json::{Value, json};

use super::compiled::Scope;
use crate::{
    admission::{
        elements,
        expressions::{Sight, variables},
        strings, text,
    },
    cel::{
        compile,
        escape::escape,
        types::{Declared, ListType, MapType, ObjectField, ObjectType, Type},
    },
};

/// Variables and their types.
type Environment = Vec<(Box<str>, Declared)>;

/// Kinds against which one policy is checked.
const MAX_KINDS: usize = 10;

/// The status of a policy as it stands: what is wrong with its expressions, kind by kind.
pub fn status(policy: &Value, registry: &Registry) -> Value {
    let mut checked = json!({});
    let warnings = warnings(&policy["spec"], registry);
    if !warnings.is_empty() {
        checked["expressionWarnings"] = warnings.into();
    }
    json!({"observedGeneration": policy["metadata"]["generation"], "typeChecking": checked})
}

fn warnings(spec: &Value, registry: &Registry) -> Vec<Value> {
    let param_kind = &spec["paramKind"];
    let api_version = text(&param_kind["apiVersion"]);
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let params = registry.find_kind(group, version, text(&param_kind["kind"])).map_or(Type::Dyn, |row| object_of(row));
    let environments: Vec<(String, Environment)> = kinds(spec, registry)
        .iter()
        .map(|row| {
            let kind = format!("{}/{}, Kind={}", row.group, row.version, row.kind);
            (kind, environment(spec, &object_of(row), &params))
        })
        .collect();
    let mut warnings = Vec::new();
    for (index, validation) in elements(&spec["validations"]).iter().enumerate() {
        for field in ["expression", "messageExpression"] {
            let source = text(&validation[field]);
            let problems: Vec<String> = environments
                .iter()
                .filter(|_| !source.is_empty())
                .filter_map(|(kind, environment)| {
                    let error = compile(source, environment).err()?;
                    Some(format!("{kind}: {}\n", error.describe(source)))
                })
                .collect();
            if !problems.is_empty() {
                let place = format!("spec.validations[{index}].{field}");
                warnings.push(json!({"fieldRef": place, "warning": problems.join("\n")}));
            }
        }
    }
    warnings
}

/// The kinds that the rules name; a rule with a wildcard names none.
fn kinds(spec: &Value, registry: &Registry) -> Vec<Arc<Resource>> {
    let mut found: Vec<Arc<Resource>> = Vec::new();
    for rule in elements(&spec["matchConstraints"]["resourceRules"]) {
        let is_open = |field: &str| strings(&rule[field]).any(|word| word.contains('*'));
        if is_open("apiGroups") || is_open("apiVersions") {
            continue;
        }
        for group in strings(&rule["apiGroups"]) {
            for version in strings(&rule["apiVersions"]) {
                found.extend(
                    strings(&rule["resources"]).filter_map(|plural| registry.find(group, version, plural)).cloned(),
                );
            }
        }
    }
    found.sort_by(|a, b| (&a.group, &a.version, &a.kind).cmp(&(&b.group, &b.version, &b.kind)));
    found.dedup_by(|a, b| Arc::ptr_eq(a, b));
    found.truncate(MAX_KINDS);
    found
}

fn environment(spec: &Value, object: &Type, params: &Type) -> Environment {
    let mut all = variables(Sight { params: !spec["paramKind"].is_null(), authorizer: true });
    for (name, declared) in &mut all {
        match &**name {
            "object" | "oldObject" => declared.ty = object.clone(),
            "params" => declared.ty = params.clone(),
            _ => {}
        }
    }
    Scope::with_variables(spec, &all)
}

/// The type of a resource's objects.
fn object_of(row: &Resource) -> Type {
    let mut known = HashMap::new();
    Types { row, known: &mut known }.read(row.root)
}

struct Types<'a> {
    row: &'a Resource,
    /// What has been read, and as `Dyn` what is being read: a type within itself has no end.
    known: &'a mut HashMap<TypeId, Type>,
}

impl Types<'_> {
    fn read(&mut self, id: TypeId) -> Type {
        if let Some(known) = self.known.get(&id) {
            return known.clone();
        }
        self.known.insert(id, Type::Dyn);
        let row = self.row;
        let read = match row.types.get(id).shape() {
            Shape::Any => Type::Dyn,
            Shape::Scalar(scalar) => of_scalar(*scalar),
            Shape::List(list) => {
                let item = Declared::unbounded(self.read(list.item));
                Type::List(Arc::new(ListType { item, topology: ListTopology::Atomic }))
            }
            Shape::Map(map) => {
                let value = Declared::unbounded(self.read(map.value));
                Type::Map(Arc::new(MapType { key: Declared::unbounded(Type::String), value }))
            }
            Shape::Object(object) if object.preserve_unknown || object.fields.is_empty() => Type::Dyn,
            Shape::Object(object) => {
                let fields = object.fields.iter().filter_map(|field| {
                    let declared = Declared::unbounded(self.read(field.id));
                    Some((Box::from(&*escape(&field.name)?), ObjectField { name: field.name.clone(), declared }))
                });
                let fields = fields.collect();
                let name = row.types.name_of(id).unwrap_or(&row.kind).to_owned();
                Type::Object(Arc::new(ObjectType { name, fields }))
            }
        };
        self.known.insert(id, read.clone());
        read
    }
}

fn of_scalar(scalar: Scalar) -> Type {
    match scalar {
        Scalar::Boolean => Type::Bool,
        Scalar::Int32 | Scalar::Int64 => Type::Int,
        Scalar::Number => Type::Double,
        Scalar::String | Scalar::Duration => Type::String,
        Scalar::Bytes => Type::Bytes,
        Scalar::IntOrString | Scalar::Quantity => Type::Dyn,
        Scalar::Time | Scalar::MicroTime => Type::Timestamp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::testing::REGISTRY;

    fn check(spec: Value, expect: &[(&str, &str)]) {
        let mut spec = spec;
        spec["matchConstraints"] = json!({"resourceRules": [
            {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["deployments", "*/scale"]},
            {"apiGroups": ["*"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["pods"]},
        ]});
        let policy = json!({"metadata": {"generation": 3}, "spec": spec});
        let status = status(&policy, &REGISTRY);
        assert_eq!(status["observedGeneration"], 3);
        let found: Vec<(&str, &str)> = elements(&status["typeChecking"]["expressionWarnings"])
            .iter()
            .map(|warning| (text(&warning["fieldRef"]), text(&warning["warning"])))
            .collect();
        assert_eq!(found, expect, "{spec}");
        assert!(status["typeChecking"].is_object());
    }

    #[test]
    fn expressions_are_checked_against_the_kinds_they_are_about() {
        let validations = |expression: &str| json!({"validations": [{"expression": expression}]});
        check(
            validations(
                "object.spec.replicas > 1 && object.metadata.creationTimestamp > timestamp('2020-01-01T00:00:00Z')",
            ),
            &[],
        );
        check(validations("object.spec.template.spec.containers.all(c, c.image.startsWith('x'))"), &[]);
        check(
            validations("object.replicas > 1"),
            &[(
                "spec.validations[0].expression",
                "apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'replicas'\n | object.replicas > 1\n | ......^\n",
            )],
        );
        check(
            json!({
                "variables": [{"name": "n", "expression": "object.spec.replicas"}],
                "validations": [{"expression": "variables.n > 1", "messageExpression": "variables.n + 'x'"}],
            }),
            &[(
                "spec.validations[0].messageExpression",
                "apps/v1, Kind=Deployment: ERROR: <input>:1:13: found no matching overload for '_+_' applied to '(int, string)'\n | variables.n + 'x'\n | ............^\n",
            )],
        );
        check(
            json!({
                "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
                "validations": [{"expression": "params.data.x == 'y' && params.nothing == 1"}],
            }),
            &[(
                "spec.validations[0].expression",
                "apps/v1, Kind=Deployment: ERROR: <input>:1:31: undefined field 'nothing'\n | params.data.x == 'y' && params.nothing == 1\n | ..............................^\n",
            )],
        );
    }
}
