//! `x-kubernetes-validations`: the rules of every level of a schema, compiled, estimated and run.

use std::collections::BTreeMap;

use api::field::{FieldError, FieldErrors, Path, Reason};
use serde_json::Value as Json;

use super::{
    declare,
    schema::{Additional, Rule, Schema},
    validate::Earlier,
};
use crate::cel::{
    Budget, Failure, OBJECT_LIMIT, Program, compile,
    types::{Declared, MAX_REQUEST_BYTES, Type},
    value::Value,
};

/// Bytes that a message may have.
const MAX_MESSAGE_BYTES: usize = 5 * 1024;
const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// The rules of one level, and of the levels below.
#[derive(Debug)]
pub struct Rules {
    schema: Schema,
    self_type: Declared,
    pub here: Vec<Compiled>,
    pub items: Option<Box<Rules>>,
    pub properties: BTreeMap<Box<str>, Rules>,
    pub additional: Option<Box<Rules>>,
}

#[derive(Debug)]
pub struct Compiled {
    pub rule: Rule,
    /// The problem as the definition's author is told it.
    pub program: Result<Program, String>,
    pub message: Option<Result<Program, String>>,
    pub uses_old_self: bool,
}

impl Rules {
    pub fn compile(schema: &Schema, declared: &Declared) -> Self {
        let nested = |schema: &Schema, declared: Declared| schema.has_rules().then(|| Self::compile(schema, &declared));
        let items = match (&schema.items, &declared.ty) {
            (Some(items), Type::List(list)) => nested(items, list.item.clone()),
            _ => None,
        };
        let additional = match (&schema.additional, &declared.ty) {
            (Additional::Of(values), Type::Map(map)) => nested(values, map.value.clone()),
            _ => None,
        };
        let properties = schema
            .properties
            .iter()
            .filter_map(|(name, property)| Some((name.clone(), nested(property, declare::declared(property, name))?)));
        Self {
            self_type: declared.clone(),
            here: schema.rules.iter().map(|rule| Compiled::new(rule, declared)).collect(),
            items: items.map(Box::new),
            additional: additional.map(Box::new),
            properties: properties.collect(),
            schema: Schema { properties: BTreeMap::new(), rules: Vec::new(), ..schema.clone() },
        }
    }

    /// Runs all rules over an object, together within the budget of one object.
    pub fn validate(&self, new: &Json, old: Option<&Json>, errors: &mut FieldErrors) {
        let budget = Budget::new(OBJECT_LIMIT);
        // The budget's end has been reported where it ended.
        let _ = self.level(new, old, None, &Path::ROOT, &budget, errors);
    }

    /// `old` is what `oldSelf` is, `around` the nearest value around this one whose earlier state is
    /// known, with that state. An error ends everything.
    fn level(
        &self,
        new: &Json,
        old: Option<&Json>,
        around: Option<(&Json, &Json)>,
        path: &Path<'_>,
        budget: &Budget,
        errors: &mut FieldErrors,
    ) -> Result<(), Failure> {
        if new.is_null() {
            return Ok(());
        }
        let around = old.map(|old| (old, new)).or(around);
        for compiled in &self.here {
            self.apply(compiled, new, old, around, path, budget, errors)?;
        }
        match new {
            Json::Array(items) => {
                let Some(rules) = &self.items else { return Ok(()) };
                let earlier = Earlier::of(&self.schema, old);
                for (index, item) in items.iter().enumerate() {
                    rules.level(item, earlier.of_item(item), around, &path.index(index), budget, errors)?;
                }
            }
            Json::Object(fields) => {
                for (name, value) in fields {
                    let old = old.and_then(|old| old.get(name));
                    if let Some(rules) = self.properties.get(name.as_str()) {
                        rules.level(value, old, around, &path.child(name), budget, errors)?;
                    } else if let Some(rules) = &self.additional {
                        rules.level(value, old, around, &path.key(name), budget, errors)?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the place of one rule in the walk")]
    fn apply(
        &self,
        compiled: &Compiled,
        new: &Json,
        old: Option<&Json>,
        around: Option<(&Json, &Json)>,
        path: &Path<'_>,
        budget: &Budget,
        errors: &mut FieldErrors,
    ) -> Result<(), Failure> {
        let rule = &compiled.rule;
        let shown = self.schema.kind.map_or("", |kind| kind.name());
        let program = match &compiled.program {
            Ok(program) => program,
            Err(problem) => {
                errors.push(FieldError::invalid(path, shown, format!("rule compile error: {problem}")));
                return Ok(());
            }
        };
        let optional = rule.optional_old_self == Some(true);
        let old = old.filter(|old| !old.is_null());
        if compiled.uses_old_self && old.is_none() && !optional {
            return Ok(());
        }
        let ty = &self.self_type.ty;
        let old_self = old.map(|old| Value::read(old, ty));
        let mut variables = vec![("self", Value::read(new, ty))];
        match (optional, old_self) {
            (true, None) => variables.push(("oldSelf", Value::Optional(None))),
            (true, Some(value)) => variables.push(("oldSelf", Value::some(value))),
            (false, Some(value)) => variables.push(("oldSelf", value)),
            (false, None) => {}
        }
        match program.evaluate(&variables, budget) {
            Ok(Value::Bool(true)) => return Ok(()),
            Ok(_) => {}
            Err(failure) => {
                let label = if rule.message.is_empty() { rule.rule.trim() } else { rule.message.trim() };
                let detail = match &failure {
                    Failure::NoOverload => format!(
                        "'{failure}': call arguments did not match a supported operator, function or macro signature for rule: {label}"
                    ),
                    Failure::Error(_) => format!("{failure} evaluating rule: {label}"),
                    Failure::CallLimit => format!(
                        "'{failure}': no further validation rules will be run due to call cost exceeds limit for rule: {label}"
                    ),
                    Failure::OutOfBudget => OUT_OF_BUDGET.to_owned(),
                };
                errors.push(FieldError::invalid(path, shown, detail));
                return if failure.is_final() { Err(failure) } else { Ok(()) };
            }
        }
        // An object that already broke the rule may stay as it is.
        if !compiled.uses_old_self && around.is_some_and(|(old, new)| old == new) {
            return Ok(());
        }
        let detail = self.detail(compiled, &variables, budget, path, errors)?;
        errors.push(self.broken(rule, path, new, detail));
        Ok(())
    }

    /// The message of a broken rule.
    fn detail<'a>(
        &self,
        compiled: &'a Compiled,
        variables: &[(&str, Value<'a>)],
        budget: &Budget,
        path: &Path<'_>,
        errors: &mut FieldErrors,
    ) -> Result<String, Failure> {
        let rule = &compiled.rule;
        if let Some(Ok(program)) = &compiled.message {
            match program.evaluate(variables, budget) {
                Ok(Value::String(text)) => {
                    let text = text.trim();
                    if !text.is_empty() && text.len() <= MAX_MESSAGE_BYTES && !text.contains('\n') {
                        return Ok(text.to_owned());
                    }
                }
                Err(failure) if failure.is_final() => {
                    let detail = match failure {
                        Failure::CallLimit => format!(
                            "no further validation rules will be run due to call cost exceeds limit for messageExpression: {:?}",
                            rule.message_expression
                        ),
                        _ => "messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run".to_owned(),
                    };
                    errors.push(FieldError::invalid(path, self.schema.kind.map_or("", |kind| kind.name()), detail));
                    return Err(failure);
                }
                // A message that cannot be made gives way to the one that is written.
                Ok(_) | Err(_) => {}
            }
        }
        Ok(match rule.message.trim() {
            "" => format!("failed rule: {}", rule.rule.trim()),
            message => message.to_owned(),
        })
    }

    fn broken(&self, rule: &Rule, path: &Path<'_>, value: &Json, detail: String) -> FieldError {
        let field_path = rule.field_path.trim().trim_start_matches('.');
        let inner = path.child(field_path);
        let path = if field_path.is_empty() { path } else { &inner };
        let value = (!value.is_array() && !value.is_object()).then(|| value.clone());
        match &*rule.reason {
            "FieldValueForbidden" => FieldError::forbidden(path, detail),
            "FieldValueRequired" => FieldError::required(path, detail),
            "FieldValueDuplicate" => {
                FieldError { reason: Reason::Duplicate, path: path.to_string(), value, detail: String::new() }
            }
            _ => FieldError { reason: Reason::Invalid, path: path.to_string(), value, detail },
        }
    }

    /// How often the values of a level may occur in one object, where nothing bounds their lists.
    pub fn most(&self) -> u64 {
        MAX_REQUEST_BYTES / (declare::min_bytes(&self.schema) + 1)
    }

    /// The items or entries that a value of this level has at most; `None` where nothing says.
    pub fn declared_count(&self) -> Option<u64> {
        self.schema.items_count.max.or(self.schema.properties_count.max)
    }
}

impl Compiled {
    fn new(rule: &Rule, declared: &Declared) -> Self {
        let old = match rule.optional_old_self {
            Some(true) => Declared { ty: Type::optional(declared.ty.clone()), max_size: declared.max_size },
            _ => declared.clone(),
        };
        let variables = [("self".into(), declared.clone()), ("oldSelf".into(), old)];
        let checked = |source: &str, wanted: Type, prefix: &str, mismatch: &str| {
            let program = compile(source, &variables)
                .map_err(|error| format!("{prefix}compilation failed: {}", error.describe(source)))?;
            let same = std::mem::discriminant(&program.result) == std::mem::discriminant(&wanted);
            if same { Ok(program) } else { Err(mismatch.to_owned()) }
        };
        let program = checked(&rule.rule, Type::Bool, "", "cel expression must evaluate to a bool");
        let message = (!rule.message_expression.is_empty()).then(|| {
            let mismatch = "messageExpression must evaluate to a string";
            checked(&rule.message_expression, Type::String, "messageExpression ", mismatch)
        });
        let uses_old_self = program.as_ref().is_ok_and(|program| program.uses("oldSelf"));
        Self { rule: rule.clone(), program, message, uses_old_self }
    }
}
