//! What strict decoding complains of, in the order of the text: a document does not remember the order of its fields.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::path::Path;

/// The complaints about a body of JSON, as they are met when it is read from its beginning. Of a field that nobody
/// knows it is not said that it is there twice. What the text does not show stays at the end.
pub fn in_order_of(text: &[u8], complaints: Vec<String>) -> Vec<String> {
    if complaints.len() < 2 {
        return complaints;
    }
    let mut order = Order::default();
    for (index, complaint) in complaints.iter().enumerate() {
        if let Some(path) = complaint.strip_prefix("unknown field ") {
            order.unknown.insert(path, index);
        } else if let Some(path) = complaint.strip_prefix("duplicate field ") {
            order.duplicate.insert(path, index);
        }
    }
    let text = String::from_utf8_lossy(text);
    let walk = Walk { path: &Path::ROOT, order: &mut order };
    // The text has been read once before; what cannot be read now only stays where it is.
    if walk.deserialize(&mut serde_json::Deserializer::from_str(&text)).is_err() {
        return complaints;
    }
    let Order { unknown, duplicate, met } = order;
    let dropped: HashSet<usize> =
        duplicate.iter().filter(|(path, _)| unknown.contains_key(*path)).map(|(_, index)| *index).collect();
    let mut placed = dropped;
    let order: Vec<usize> = met.into_iter().chain(0..complaints.len()).filter(|index| placed.insert(*index)).collect();
    let mut complaints: Vec<Option<String>> = complaints.into_iter().map(Some).collect();
    order.into_iter().filter_map(|index| complaints[index].take()).collect()
}

/// Quoted paths, and which complaint is about them.
#[derive(Default)]
struct Order<'c> {
    unknown: HashMap<&'c str, usize>,
    duplicate: HashMap<&'c str, usize>,
    met: Vec<usize>,
}

struct Walk<'w, 'c> {
    path: &'w Path<'w>,
    order: &'w mut Order<'c>,
}

impl<'de> DeserializeSeed<'de> for Walk<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        for index in 0.. {
            let path = self.path.index(index);
            if access.next_element_seed(Walk { path: &path, order: self.order })?.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = access.next_key::<String>()? {
            let path = self.path.key(&key);
            let shown = format!("{:?}", path.to_string());
            let is_first = seen.insert(key.clone());
            let complaint = if is_first { self.order.unknown.get(&*shown) } else { self.order.duplicate.get(&*shown) };
            self.order.met.extend(complaint);
            access.next_value_seed(Walk { path: &path, order: self.order })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_come_as_the_text_does() {
        let check = |text: &str, given: &[&str], expect: &[&str]| {
            let given = given.iter().map(|complaint| (*complaint).to_owned()).collect();
            assert_eq!(in_order_of(text.as_bytes(), given), expect, "{text}");
        };
        check(
            r#"{"z": 1, "a": 2, "spec": {"list": [{"q": 1}, {"b": 1, "n": 1, "n": 2}], "e": 1}, "a": 3, "spec": {}}"#,
            &[
                r#"duplicate field "spec.list[1].n""#,
                r#"duplicate field "a""#,
                r#"duplicate field "spec""#,
                r#"unknown field "a""#,
                r#"unknown field "spec.e""#,
                r#"unknown field "spec.list[0].q""#,
                r#"unknown field "spec.list[1].b""#,
                r#"unknown field "z""#,
            ],
            &[
                r#"unknown field "z""#,
                r#"unknown field "a""#,
                r#"unknown field "spec.list[0].q""#,
                r#"unknown field "spec.list[1].b""#,
                r#"duplicate field "spec.list[1].n""#,
                r#"unknown field "spec.e""#,
                r#"duplicate field "spec""#,
            ],
        );
        check(
            "b: 1\na: 1",
            &["unknown field \"a\"", "unknown field \"b\""],
            &["unknown field \"a\"", "unknown field \"b\""],
        );
        check("{}", &["unknown field \"b\"", "other"], &["unknown field \"b\"", "other"]);
    }
}
