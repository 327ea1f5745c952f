//! Parts that several kinds have: selectors, and numbers that may be percentages.

use api::selector::LabelSelector;
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::Value;

/// A label selector, parsed once. One that is absent selects nothing.
pub(crate) fn selector<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LabelSelector, D::Error> {
    LabelSelector::from_object(&Value::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// A label selector as it is written, to be handed on, and parsed. One that is absent selects nothing.
#[derive(Debug, Clone)]
pub struct Selector {
    pub written: Value,
    pub parsed: LabelSelector,
}

impl Default for Selector {
    fn default() -> Self {
        Self { written: Value::Null, parsed: LabelSelector::nothing() }
    }
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Value::deserialize(deserializer)?;
        let parsed = LabelSelector::from_object(&written).map_err(D::Error::custom)?;
        Ok(Self { written, parsed })
    }
}

/// A list that the server shows as null where there is none: those that Go does not leave out.
pub(crate) fn maybe_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A number, or a share of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntOrPercent {
    Int(i32),
    Percent(i32),
}

impl IntOrPercent {
    /// Of `total`; a share is rounded up.
    pub fn of_rounded_up(self, total: i32) -> i32 {
        match self {
            Self::Int(number) => number,
            Self::Percent(percent) => div_ceil(i64::from(percent) * i64::from(total)),
        }
    }

    /// Of `total`; a share is rounded down.
    pub fn of_rounded_down(self, total: i32) -> i32 {
        match self {
            Self::Int(number) => number,
            Self::Percent(percent) => narrow(i64::from(percent) * i64::from(total) / 100),
        }
    }
}

fn div_ceil(hundredths: i64) -> i32 {
    narrow(hundredths.div_euclid(100) + i64::from(hundredths.rem_euclid(100) > 0))
}

fn narrow(number: i64) -> i32 {
    i32::try_from(number).unwrap_or(if number < 0 { i32::MIN } else { i32::MAX })
}

impl<'de> Deserialize<'de> for IntOrPercent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let number = match &value {
            Value::Number(number) => number.as_i64().map(|number| Self::Int(narrow(number))),
            Value::String(text) => text.strip_suffix('%').and_then(percent),
            _ => None,
        };
        number.ok_or_else(|| D::Error::custom(format!("{value} must be a number or a percentage")))
    }
}

/// Of digits of whatever length.
fn percent(digits: &str) -> Option<IntOrPercent> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| IntOrPercent::Percent(digits.parse().unwrap_or(i32::MAX)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_that_go_shows_as_null_are_empty() {
        let drivers = json!({"metadata": {"name": "n"}, "spec": {"drivers": null}});
        let node: crate::objects::CSINode = serde_json::from_value(drivers).unwrap();
        assert!(node.spec.drivers.is_empty());
        let slice = json!({"addressType": "IPv4", "ports": null, "endpoints": null});
        assert!(serde_json::from_value::<crate::objects::EndpointSlice>(slice).unwrap().ports.is_empty());
    }

    #[test]
    fn shares_are_rounded_as_asked() {
        let quarter: IntOrPercent = serde_json::from_value(json!("25%")).unwrap();
        assert_eq!((quarter.of_rounded_up(10), quarter.of_rounded_down(10)), (3, 2));
        let three: IntOrPercent = serde_json::from_value(json!(3)).unwrap();
        assert_eq!((three.of_rounded_up(10), three.of_rounded_down(10)), (3, 3));
        let much: IntOrPercent = serde_json::from_value(json!("99999999999%")).unwrap();
        assert_eq!(much.of_rounded_up(10), i32::MAX / 10 + 1);
        assert!(serde_json::from_value::<IntOrPercent>(json!("a")).is_err());
    }
}
