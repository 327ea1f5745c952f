//! Parts that several kinds have: selectors, amounts of resources, numbers that may be percentages.

use std::{borrow::Cow, fmt};

use api::selector::LabelSelector;
use document::quantity::Quantity;
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};
use serde_json::Value;

/// `cpu`, `memory`, `pods`, `example.com/gpu`, …, sorted by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Amounts(Box<[(Box<str>, Quantity)]>);

impl Amounts {
    pub fn get(&self, name: &str) -> Option<Quantity> {
        let at = self.0.binary_search_by(|(found, _)| (**found).cmp(name)).ok()?;
        Some(self.0[at].1)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, Quantity)> + Clone {
        self.0.iter().map(|(name, amount)| (&**name, *amount))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(Box<str>, Quantity)> for Amounts {
    fn from_iter<I: IntoIterator<Item = (Box<str>, Quantity)>>(amounts: I) -> Self {
        let mut amounts: Vec<_> = amounts.into_iter().collect();
        amounts.sort_by(|a, b| a.0.cmp(&b.0));
        amounts.dedup_by(|later, earlier| later.0 == earlier.0);
        Self(amounts.into())
    }
}

/// A quantity as text or number.
fn quantity<E: Error>(text: &str) -> Result<Quantity, E> {
    Quantity::parse(text.trim()).map_err(|error| E::custom(format!("{text:?}: {error}")))
}

impl<'de> Deserialize<'de> for Amounts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = Amounts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of quantities")
            }

            fn visit_unit<E>(self) -> Result<Amounts, E> {
                Ok(Amounts::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Amounts, A::Error> {
                let mut amounts = Vec::new();
                while let Some((name, text)) = map.next_entry::<Box<str>, Cow<'de, str>>()? {
                    amounts.push((name, quantity(&text)?));
                }
                Ok(amounts.into_iter().collect())
            }
        }

        deserializer.deserialize_any(Pairs)
    }
}

/// A label selector, parsed once. One that is absent selects nothing.
pub(crate) fn selector<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LabelSelector, D::Error> {
    LabelSelector::from_object(&Value::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// A label selector as it is written, to be handed on, and parsed.
#[derive(Debug, Clone, Default)]
pub struct Selector {
    pub written: Value,
    pub parsed: LabelSelector,
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Value::deserialize(deserializer)?;
        let parsed = LabelSelector::from_object(&written).map_err(D::Error::custom)?;
        Ok(Self { written, parsed })
    }
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
            Value::String(text) => text.strip_suffix('%').and_then(|text| text.parse().ok()).map(Self::Percent),
            _ => None,
        };
        number.ok_or_else(|| D::Error::custom(format!("{value} must be a number or a percentage")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn shares_are_rounded_as_asked() {
        let quarter: IntOrPercent = serde_json::from_value(json!("25%")).unwrap();
        assert_eq!((quarter.of_rounded_up(10), quarter.of_rounded_down(10)), (3, 2));
        let three: IntOrPercent = serde_json::from_value(json!(3)).unwrap();
        assert_eq!((three.of_rounded_up(10), three.of_rounded_down(10)), (3, 3));
        assert!(serde_json::from_value::<IntOrPercent>(json!("a")).is_err());
    }

    #[test]
    fn amounts_are_found_by_name() {
        let amounts: Amounts = serde_json::from_value(json!({"memory": "1Gi", "cpu": "500m"})).unwrap();
        assert_eq!(amounts.get("cpu").map(Quantity::millis), Some(500));
        assert_eq!(amounts.get("pods"), None);
    }
}
