//! Label and field selectors: parsed once, then matched against borrowed labels without allocation.
//!
//! Messages are those of apimachinery's `labels`, `fields` and `metav1.LabelSelectorAsSelector`. Not
//! here: which field labels a kind supports ([`crate::resource::Resource::selectable`]).

mod field_selector;
mod label_parser;
#[cfg(test)]
mod tests;

use std::fmt::{self, Display};

use serde_json::Value;

pub use field_selector::{FieldRequirement, FieldSelector};

use crate::field::{FieldError, Path};
use crate::syntax::{is_label_value, is_qualified_name};

/// Why a selector was refused; the text is what clients see.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(pub String);

/// All requirements must hold. The empty selector matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct LabelSelector {
    /// Sorted by key.
    requirements: Vec<Requirement>,
    nothing: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Requirement {
    pub key: Box<str>,
    pub operator: Operator,
    /// Sorted, without duplicates, where the selector was text.
    pub values: Vec<Box<str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operator {
    In,
    NotIn,
    Equals,
    DoubleEquals,
    NotEquals,
    GreaterThan,
    LessThan,
    Exists,
    DoesNotExist,
}

impl LabelSelector {
    pub fn everything() -> Self {
        Self::default()
    }

    pub fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }

    /// The text form: `a in (b,c),!d,e!=f,x>1`.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        label_parser::parse(text).map(Self::of)
    }

    /// A `metav1.LabelSelector` object; null or absent matches nothing, an empty object everything.
    pub fn from_object(selector: &Value) -> Result<Self, SelectorError> {
        if selector.is_null() {
            return Ok(Self::nothing());
        }
        let mut requirements = equalities(&selector["matchLabels"])?;
        for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
            let written = expression["operator"].as_str().unwrap_or_default();
            let operator = match written {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                _ => return Err(SelectorError(format!("{written:?} is not a valid label selector operator"))),
            };
            let key = expression["key"].as_str().unwrap_or_default();
            let values = expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str);
            requirements.push(Requirement::new(key, operator, values.map(Box::from).collect())?);
        }
        Ok(Self::of(requirements))
    }

    /// A plain map of labels that must all be equal (`spec.selector` of services and replication
    /// controllers). An empty or absent map matches everything.
    pub fn from_map(labels: &Value) -> Result<Self, SelectorError> {
        equalities(labels).map(Self::of)
    }

    /// All of these requirements, in any order.
    pub fn of(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self { requirements, nothing: false }
    }

    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    pub fn is_nothing(&self) -> bool {
        self.nothing
    }

    /// `labels` is walked once per requirement: hand in something cheap to clone, as a map's iterator.
    pub fn matches<'a, L>(&self, labels: L) -> bool
    where
        L: IntoIterator<Item = (&'a str, &'a str)> + Clone,
    {
        !self.nothing
            && self.requirements.iter().all(|requirement| {
                let found = labels.clone().into_iter().find(|(key, _)| *key == &*requirement.key);
                requirement.accepts(found.map(|(_, value)| value))
            })
    }

    /// Matches `metadata.labels` of an object, or any other map of strings.
    pub fn matches_labels(&self, labels: &Value) -> bool {
        !self.nothing
            && self
                .requirements
                .iter()
                .all(|requirement| requirement.accepts(labels.get(&*requirement.key).and_then(Value::as_str)))
    }
}

fn equalities(labels: &Value) -> Result<Vec<Requirement>, SelectorError> {
    let labels = labels.as_object().into_iter().flatten();
    labels
        .map(|(key, value)| Requirement::new(key, Operator::Equals, vec![value.as_str().unwrap_or_default().into()]))
        .collect()
}

impl Requirement {
    /// Checks key, number of values and values; errors name `key`, `values` and `values[i][key]`.
    pub fn new(key: &str, operator: Operator, values: Vec<Box<str>>) -> Result<Self, SelectorError> {
        let mut errors = Vec::new();
        if let Some(error) = invalid_key(key, &Path::new("key")) {
            errors.push(error);
        }
        let path = Path::new("values");
        let shown = || Value::from(values.iter().map(|value| Value::from(&**value)).collect::<Vec<_>>());
        if let Some(detail) = operator.refuses(values.len()) {
            errors.push(FieldError::invalid(&path, shown(), detail));
        }
        for (index, value) in values.iter().enumerate() {
            let path = path.index(index);
            if operator.is_numeric() && value.parse::<i64>().is_err() {
                let detail = "for 'Gt', 'Lt' operators, the value must be an integer";
                errors.push(FieldError::invalid(&path, &**value, detail));
            }
        }
        for (index, value) in values.iter().enumerate() {
            let problems = is_label_value(value);
            if !problems.is_empty() {
                errors.push(FieldError::invalid(&path.index(index).key(key), &**value, problems.join("; ")));
            }
        }
        match &errors[..] {
            [] => Ok(Self { key: key.into(), operator, values }),
            [one] => Err(SelectorError(one.to_string())),
            _ => {
                let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
                Err(SelectorError(format!("[{}]", all.join(", "))))
            }
        }
    }

    /// Whether a label with this value, or its absence, satisfies the requirement.
    fn accepts(&self, found: Option<&str>) -> bool {
        let listed = |value: &str| self.values.iter().any(|listed| **listed == *value);
        match (self.operator, found) {
            (Operator::In | Operator::Equals | Operator::DoubleEquals, found) => found.is_some_and(listed),
            (Operator::NotIn | Operator::NotEquals, found) => !found.is_some_and(listed),
            (Operator::Exists, found) => found.is_some(),
            (Operator::DoesNotExist, found) => found.is_none(),
            (Operator::GreaterThan, found) => self.compares(found).is_some_and(|order| order.is_gt()),
            (Operator::LessThan, found) => self.compares(found).is_some_and(|order| order.is_lt()),
        }
    }

    fn compares(&self, found: Option<&str>) -> Option<std::cmp::Ordering> {
        let bound: i64 = self.values.first()?.parse().ok()?;
        Some(found?.parse::<i64>().ok()?.cmp(&bound))
    }
}

fn invalid_key(key: &str, path: &Path<'_>) -> Option<FieldError> {
    let problems = is_qualified_name(key);
    (!problems.is_empty()).then(|| FieldError::invalid(path, key, problems.join("; ")))
}

impl Operator {
    fn is_numeric(self) -> bool {
        matches!(self, Operator::GreaterThan | Operator::LessThan)
    }

    fn refuses(self, values: usize) -> Option<&'static str> {
        match self {
            Operator::In | Operator::NotIn => {
                (values == 0).then_some("for 'in', 'notin' operators, values set can't be empty")
            }
            Operator::Equals | Operator::DoubleEquals | Operator::NotEquals => {
                (values != 1).then_some("exact-match compatibility requires one single value")
            }
            Operator::Exists | Operator::DoesNotExist => {
                (values != 0).then_some("values set must be empty for exists and does not exist")
            }
            Operator::GreaterThan | Operator::LessThan => {
                (values != 1).then_some("for 'Gt', 'Lt' operators, exactly one value is required")
            }
        }
    }
}

impl Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            requirement.fmt(f)?;
        }
        Ok(())
    }
}

impl Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        let mut values = self.values.clone();
        values.sort();
        let values = values.join(",");
        match self.operator {
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::DoubleEquals => write!(f, "{key}=={values}"),
            Operator::NotEquals => write!(f, "{key}!={values}"),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
            Operator::Exists => write!(f, "{key}"),
            Operator::DoesNotExist => write!(f, "!{key}"),
        }
    }
}
