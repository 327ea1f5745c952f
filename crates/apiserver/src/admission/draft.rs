//! The object of a write while plug-ins may change it: it knows whether one has had it to change, so that
//! nobody has to compare or copy what nobody changes.

use std::ops::{Deref, DerefMut};

use serde_json::Value;

#[derive(Debug, Clone)]
pub struct Draft {
    object: Value,
    is_touched: bool,
}

impl Draft {
    /// Whether it was handed out to be changed, even if nothing came of it.
    pub fn is_touched(&self) -> bool {
        self.is_touched
    }

    pub fn into_inner(self) -> Value {
        self.object
    }
}

impl From<Value> for Draft {
    fn from(object: Value) -> Self {
        Self { object, is_touched: false }
    }
}

impl Deref for Draft {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.object
    }
}

impl DerefMut for Draft {
    fn deref_mut(&mut self) -> &mut Value {
        self.is_touched = true;
        &mut self.object
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reading_does_not_touch_and_writing_does() {
        let mut draft = Draft::from(json!({"spec": {"replicas": 1}}));
        assert!(draft["spec"]["replicas"] == 1 && draft.get("status").is_none() && !draft.is_touched());
        draft["spec"]["replicas"] = 2.into();
        assert!(draft.is_touched());
        assert_eq!(draft.into_inner(), json!({"spec": {"replicas": 2}}));
    }
}
