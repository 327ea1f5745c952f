//! Values as Go's `fmt` prints them: messages that clients match on are full of them.

use serde_json::Value;

/// A value as Go prints it: `%v`, and `%#v` where the alternate form is asked for.
pub struct GoValue<'a>(pub &'a Value);

impl GoValue<'_> {
    /// The type that Go decodes it to.
    pub fn type_name(&self) -> &'static str {
        match self.0 {
            Value::Null => "<nil>",
            Value::Bool(_) => "bool",
            Value::Number(number) if number.is_i64() => "int64",
            Value::Number(_) => "float64",
            Value::String(_) => "string",
            Value::Array(_) => "[]interface {}",
            Value::Object(_) => "map[string]interface {}",
        }
    }
}

impl std::fmt::Display for GoValue<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let full = f.alternate();
        match self.0 {
            Value::Null if full => f.write_str("interface {}(nil)"),
            Value::Null => f.write_str("<nil>"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Number(value) => write!(f, "{value}"),
            Value::String(value) if full => write!(f, "{value:?}"),
            Value::String(value) => f.write_str(value),
            Value::Array(list) => {
                let items = list.iter().map(GoValue);
                if full {
                    let items: Vec<_> = items.map(|item| format!("{item:#}")).collect();
                    write!(f, "{}{{{}}}", self.type_name(), items.join(", "))
                } else {
                    let items: Vec<_> = items.map(|item| item.to_string()).collect();
                    write!(f, "[{}]", items.join(" "))
                }
            }
            Value::Object(map) if full => {
                let fields: Vec<_> = map.iter().map(|(name, value)| format!("{name:?}:{:#}", GoValue(value))).collect();
                write!(f, "{}{{{}}}", self.type_name(), fields.join(", "))
            }
            Value::Object(map) => {
                let fields: Vec<_> = map.iter().map(|(name, value)| format!("{name}:{}", GoValue(value))).collect();
                write!(f, "map[{}]", fields.join(" "))
            }
        }
    }
}
