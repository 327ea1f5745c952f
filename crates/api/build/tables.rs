//! The tables of what the published schemas lack. A line at the margin names a type, an indented line
//! says something about its fields.

use serde_json::{Value, json};

use crate::definitions::{Definition, Definitions, List, Scalar};

/// Takes one line: the words of an indented line, or those after a type's name.
pub type LayOver = fn(&mut Definition, Line<'_>) -> Result<(), String>;

#[derive(Debug, Clone, Copy)]
pub enum Line<'a> {
    Type(&'a str),
    Field(&'a str, &'a str),
}

pub fn apply(table: &str, text: &str, lay_over: LayOver, definitions: &mut Definitions) -> Result<(), String> {
    let mut current: Option<String> = None;
    for (number, line) in text.lines().enumerate() {
        let fail = |message: String| format!("{table}:{}: {message}: {line}", number + 1);
        if line.starts_with('#') || line.is_empty() {
            continue;
        }
        let (first, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        let statement = if line.starts_with(' ') {
            Line::Field(first, rest.trim())
        } else {
            current = Some(full_name(first, definitions).map_err(fail)?);
            Line::Type(rest.trim())
        };
        let definition = current.as_ref().and_then(|name| definitions.get_mut(name));
        let definition = definition.ok_or_else(|| fail("a field before any type".to_owned()))?;
        lay_over(definition, statement).map_err(fail)?;
    }
    Ok(())
}

/// `core.v1.Pod` is the one definition whose name ends like that.
fn full_name(short: &str, definitions: &Definitions) -> Result<String, String> {
    let suffix = format!(".{short}");
    let mut names = definitions.keys().filter(|name| name.ends_with(&suffix));
    match (names.next(), names.next()) {
        (Some(name), None) => Ok(name.clone()),
        (None, _) => Err("no such type".to_owned()),
        (Some(_), Some(_)) => Err("more than one such type".to_owned()),
    }
}

pub fn lists(definition: &mut Definition, line: Line<'_>) -> Result<(), String> {
    let (name, words) = match line {
        Line::Type("") => return Ok(()),
        Line::Type("atomic") => {
            definition.atomic = true;
            return Ok(());
        }
        Line::Type(other) => return Err(format!("a type cannot be {other:?}")),
        Line::Field(name, words) => (name, words),
    };
    let field = definition.fields.get_mut(name).ok_or("no such field")?;
    let is_list = field.schema.get("type").is_some_and(|kind| kind == "array");
    for word in words.split_whitespace() {
        let (verb, argument) = match word.strip_suffix(')').and_then(|word| word.split_once('(')) {
            Some((verb, argument)) => (verb, Some(argument.to_owned())),
            None => (word, None),
        };
        match (verb, argument) {
            ("map", Some(keys)) if is_list => field.list = List::Map(keys.split(',').map(str::to_owned).collect()),
            ("set", None) if is_list => field.list = List::Set,
            ("merge", key) if is_list || key.is_none() => (field.patch.merge, field.patch.merge_key) = (is_list, key),
            ("atomic", None) if !is_list => field.atomic = Some(true),
            ("granular", None) if !is_list => field.atomic = Some(false),
            ("retainKeys", None) => field.patch.retain_keys = true,
            ("replace", None) if !is_list => field.patch.replace = true,
            _ => return Err(format!("{word:?} cannot be said of this field")),
        }
    }
    Ok(())
}

pub fn zeros(definition: &mut Definition, line: Line<'_>) -> Result<(), String> {
    let (verb, names) = match line {
        Line::Type("") => return Ok(()),
        Line::Type(other) => return Err(format!("a type cannot be {other:?}")),
        Line::Field(verb, names) => (verb, names),
    };
    for name in names.split_whitespace() {
        let field = definition.fields.get_mut(name).ok_or_else(|| format!("no field {name}"))?;
        match verb {
            "omit" if !field.omit_empty => field.omit_empty = true,
            "keep" if field.omit_empty => field.omit_empty = false,
            "struct" if field.schema.contains_key("$ref") => {
                field.default = Some(json!({}));
                field.always_there = true;
            }
            "null" if field.default.is_none() => field.default = Some(Value::Null),
            "omit" | "keep" => return Err(format!("{name} is so without saying")),
            _ => return Err(format!("{verb} cannot be said of {name}")),
        }
    }
    Ok(())
}

pub fn defaults(definition: &mut Definition, line: Line<'_>) -> Result<(), String> {
    let (name, value) = match line {
        Line::Type("") => return Ok(()),
        Line::Type(other) => return Err(format!("a type cannot be {other:?}")),
        Line::Field(name, value) => (name, value),
    };
    let field = definition.fields.get_mut(name).ok_or("no such field")?;
    let value: Value = serde_json::from_str(value).map_err(|error| error.to_string())?;
    let expected = match field.schema.get("type").and_then(Value::as_str) {
        Some("string") => value.is_string(),
        Some("integer" | "number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        Some("array") => value.is_array(),
        Some(_) => value.is_object(),
        None => match crate::definitions::reference(&field.schema).map(Scalar::of) {
            Some(Scalar::IntOrString) => value.is_string() || value.is_number(),
            Some(Scalar::Quantity) => value.is_string(),
            _ => value.is_object(),
        },
    };
    if !expected {
        return Err("a default of another type than the field".to_owned());
    }
    field.default = Some(value);
    Ok(())
}
