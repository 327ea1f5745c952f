//! JSON Patch (RFC 6902), as lenient as the implementation Kubernetes uses: indices may be negative, and
//! `replace` of an absent field adds it.

use serde_json::{Map, Value};

use super::PatchError;
use crate::decode::MAX_DEPTH;

pub const MAX_OPERATIONS: usize = 10_000;
/// All values copied by one patch together.
const MAX_COPIED_BYTES: usize = 3 * 1024 * 1024;
/// Nodes walked and items shifted by one patch; far above what sensible patches need.
const MAX_WORK: usize = 50_000_000;

#[derive(Debug, Clone)]
pub struct Patch {
    operations: Vec<Operation>,
    /// What strict field validation refuses: `unknown field "[0].foo"`.
    pub strict_errors: Vec<String>,
}

#[derive(Debug, Clone)]
struct Operation {
    kind: Option<String>,
    path: Option<String>,
    from: Option<String>,
    /// Null where it is absent.
    value: Value,
}

impl Patch {
    pub fn parse(patch: Value) -> Result<Self, PatchError> {
        let items = match patch {
            Value::Array(items) => items,
            // As Go reads null into a list.
            Value::Null => Vec::new(),
            other => return Err(not_a("Go value of type jsonpatch.Patch", &other)),
        };
        if items.len() > MAX_OPERATIONS {
            return Err(PatchError::TooManyOperations { actual: items.len() });
        }
        let mut operations = Vec::with_capacity(items.len());
        let mut strict_errors = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let mut fields = match item {
                Value::Object(fields) => fields,
                // As Go reads null into a map.
                Value::Null => Map::new(),
                other => return Err(not_a("Go value of type jsonpatch.Operation", &other)),
            };
            let mut text = |name: &str| match fields.remove(name) {
                Some(Value::String(text)) => Some(text),
                _ => None,
            };
            let (kind, path, from) = (text("op"), text("path"), text("from"));
            let value = fields.remove("value").unwrap_or(Value::Null);
            strict_errors.extend(fields.keys().map(|name| {
                let path = format!("[{index}].{name}");
                format!("unknown field {path:?}")
            }));
            operations.push(Operation { kind, path, from, value });
        }
        Ok(Self { operations, strict_errors })
    }

    pub fn apply(self, document: &mut Value) -> Result<(), PatchError> {
        let mut editor = Editor { document, copied_bytes: 0, work: 0 };
        self.operations.into_iter().try_for_each(|operation| editor.run(operation)).map_err(PatchError::Inapplicable)
    }
}

fn not_a(wanted: &str, found: &Value) -> PatchError {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    PatchError::Malformed(format!("json: cannot unmarshal {found} into {wanted}"))
}

struct Editor<'a> {
    document: &'a mut Value,
    copied_bytes: usize,
    work: usize,
}

/// Where an operation works: a container and the last part of the path.
struct Place<'a> {
    container: Container<'a>,
    key: String,
}

enum Container<'a> {
    Object(&'a mut Map<String, Value>),
    Array(&'a mut Vec<Value>),
}

impl Editor<'_> {
    fn run(&mut self, operation: Operation) -> Result<(), String> {
        let kind = operation.kind.as_deref().unwrap_or("unknown");
        match kind {
            "add" | "remove" | "replace" | "test" => {
                let undecoded = match kind {
                    "add" | "remove" => format!("{kind} operation failed to decode path: missing value"),
                    _ => format!("{kind} operation failed to decode path: operation missing path field: missing value"),
                };
                let path = operation.path.ok_or(undecoded)?;
                match kind {
                    "add" => self.add(&path, operation.value),
                    "remove" => self.remove(&path),
                    "replace" => self.replace(&path, operation.value),
                    _ => self.test(&path, &operation.value),
                }
            }
            "move" | "copy" => {
                let missing = |field: &str, what: &str| {
                    format!(
                        "{kind} operation failed to decode {field}: operation{what} missing {field} field: missing value"
                    )
                };
                let from = operation.from.ok_or_else(|| missing("from", ","))?;
                let path = operation.path;
                if kind == "move" {
                    self.relocate(&from, &path.ok_or_else(|| missing("path", ""))?)
                } else {
                    self.copy(&from, path.as_deref())
                }
            }
            other => Err(format!("Unexpected kind: {other}")),
        }
    }

    fn add(&mut self, path: &str, value: Value) -> Result<(), String> {
        self.admit(path, &value)?;
        let Some(mut place) = self.find(path) else {
            return Err(format!("add operation does not apply: doc is missing path: {path:?}: missing value"));
        };
        let work = place.add(value).map_err(|why| format!("error in add for path: '{path}': {why}"))?;
        self.spend(work)
    }

    fn remove(&mut self, path: &str) -> Result<(), String> {
        let Some(mut place) = self.find(path) else {
            return Err(format!("remove operation does not apply: doc is missing path: {path:?}: missing value"));
        };
        let (_, work) = place.remove().map_err(|why| format!("error in remove for path: '{path}': {why}"))?;
        self.spend(work)
    }

    fn replace(&mut self, path: &str, value: Value) -> Result<(), String> {
        self.admit(path, &value)?;
        if path.is_empty() {
            if !value.is_object() && !value.is_array() {
                return Err("replace operation value must be object or array".to_owned());
            }
            *self.document = value;
            return Ok(());
        }
        let Some(mut place) = self.find(path) else {
            return Err(format!("replace operation does not apply: doc is missing path: {path}: missing value"));
        };
        if place.get().is_err() {
            return Err(format!("replace operation does not apply: doc is missing key: {path}: missing value"));
        }
        place.set(value);
        Ok(())
    }

    fn test(&mut self, path: &str, value: &Value) -> Result<(), String> {
        let found = if path.is_empty() {
            Some(&*self.document)
        } else {
            let Some(place) = self.find(path) else {
                return Err(format!("test operation does not apply: is missing path: {path}: missing value"));
            };
            place.into_value().map_err(|why| format!("error in test for path: '{path}': {why}"))?
        };
        // To the reference implementation an absent field and a null are the same.
        let equal = found.map_or(value.is_null(), |found| found == value);
        if equal { Ok(()) } else { Err(format!("testing value {path} failed: test failed")) }
    }

    fn relocate(&mut self, from: &str, path: &str) -> Result<(), String> {
        let Some(mut place) = self.find(from) else {
            return Err(format!("move operation does not apply: doc is missing from path: {from}: missing value"));
        };
        let taken = place.remove();
        let (value, work) = taken.map_err(|why| format!("error in move for path: '{}': {why}", last(from)))?;
        self.spend(work)?;
        self.admit(path, &value)?;
        let Some(mut place) = self.find(path) else {
            return Err(format!(
                "move operation does not apply: doc is missing destination path: {path}: missing value"
            ));
        };
        let work = place.add(value).map_err(|why| format!("error in move for path: '{path}': {why}"))?;
        self.spend(work)
    }

    fn copy(&mut self, from: &str, path: Option<&str>) -> Result<(), String> {
        let Some(place) = self.find(from) else {
            return Err(format!("copy operation does not apply: doc is missing from path: {from}: missing value"));
        };
        let found = place.into_value().map_err(|why| format!("error in copy for from: '{from}': {why}"))?;
        let path = path.ok_or("copy operation failed to decode path: missing value")?;
        // Measured before it is copied, so that the limit bounds memory too.
        let bytes = found.map_or(4, extent_bytes);
        let within = bytes <= MAX_COPIED_BYTES;
        let value = if within { found.cloned().unwrap_or(Value::Null) } else { Value::Null };
        self.copied_bytes += bytes;
        if self.copied_bytes > MAX_COPIED_BYTES {
            return Err(format!(
                "Unable to complete the copy, the accumulated size increase of copy is {}, exceeding the limit {}",
                self.copied_bytes, MAX_COPIED_BYTES
            ));
        }
        self.admit(path, &value)?;
        let Some(mut place) = self.find(path) else {
            return Err(format!(
                "copy operation does not apply: doc is missing destination path: {path}: missing value"
            ));
        };
        let work = place.add(value).map_err(|why| format!("error while adding value during copy: {why}"))?;
        self.spend(work)
    }

    /// The container a path leads into; `None` where the document has no such path.
    fn find(&mut self, path: &str) -> Option<Place<'_>> {
        let (_, rest) = path.split_once('/')?;
        let mut at = &mut *self.document;
        let mut parts = rest.split('/').map(|part| part.replace("~1", "/").replace("~0", "~"));
        let mut key = parts.next()?;
        for next in parts {
            at = match at {
                Value::Object(fields) => fields.get_mut(&key)?,
                Value::Array(items) => {
                    let index = index_of(&key, items.len()).ok()?;
                    items.get_mut(index)?
                }
                _ => return None,
            };
            key = next;
        }
        match at {
            Value::Object(fields) => Some(Place { container: Container::Object(fields), key }),
            Value::Array(items) => Some(Place { container: Container::Array(items), key }),
            _ => None,
        }
    }

    /// Refuses what would make the document too deep.
    fn admit(&mut self, path: &str, value: &Value) -> Result<(), String> {
        let (nodes, levels) = extent(value);
        self.spend(nodes)?;
        if path.matches('/').count() + levels > MAX_DEPTH { Err("exceeded max depth".to_owned()) } else { Ok(()) }
    }

    fn spend(&mut self, work: usize) -> Result<(), String> {
        self.work += work;
        if self.work > MAX_WORK { Err("the patch takes too much work to apply".to_owned()) } else { Ok(()) }
    }
}

impl<'a> Place<'a> {
    fn get(&self) -> Result<(), String> {
        match &self.container {
            Container::Object(_) => Ok(()),
            Container::Array(items) => existing(&self.key, items.len()).map(|_| ()),
        }
    }

    fn into_value(self) -> Result<Option<&'a Value>, String> {
        match self.container {
            Container::Object(fields) => Ok(fields.get(&self.key)),
            Container::Array(items) => existing(&self.key, items.len()).map(|index| Some(&items[index])),
        }
    }

    /// After [`Place::get`] found that it can be.
    fn set(&mut self, value: Value) {
        match &mut self.container {
            Container::Object(fields) => {
                fields.insert(std::mem::take(&mut self.key), value);
            }
            Container::Array(items) => {
                if let Ok(index) = existing(&self.key, items.len()) {
                    items[index] = value;
                }
            }
        }
    }

    /// Returns how many items were shifted.
    fn add(&mut self, value: Value) -> Result<usize, String> {
        match &mut self.container {
            Container::Object(fields) => {
                fields.insert(std::mem::take(&mut self.key), value);
                Ok(0)
            }
            Container::Array(items) if self.key == "-" => {
                items.push(value);
                Ok(0)
            }
            Container::Array(items) => {
                let parsed = parse_index(&self.key);
                parsed.map_err(|why| format!("value was not a proper array index: '{}': {why}", self.key))?;
                let index = index_of(&self.key, items.len() + 1)?;
                items.insert(index, value);
                Ok(items.len() - index)
            }
        }
    }

    /// The removed value, and how many items were shifted.
    fn remove(&mut self) -> Result<(Value, usize), String> {
        match &mut self.container {
            Container::Object(fields) => {
                let removed = fields.remove(&self.key);
                let missing = || format!("Unable to remove nonexistent key: {}: missing value", self.key);
                removed.map(|value| (value, 0)).ok_or_else(missing)
            }
            Container::Array(items) => {
                let index = existing(&self.key, items.len())?;
                Ok((items.remove(index), items.len() - index))
            }
        }
    }
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

fn parse_index(key: &str) -> Result<i64, String> {
    key.parse::<i64>().map_err(|_| format!("strconv.Atoi: parsing {key:?}: invalid syntax"))
}

/// The index of an item that exists.
fn existing(key: &str, length: usize) -> Result<usize, String> {
    index_of(key, length)
}

/// An index below `length`; a negative one counts from the end.
fn index_of(key: &str, length: usize) -> Result<usize, String> {
    let index = parse_index(key)?;
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let at = if index < 0 { index.saturating_add(length) } else { index };
    let invalid = || format!("Unable to access invalid index: {index}: invalid index referenced");
    usize::try_from(at).ok().filter(|_| at < length).ok_or_else(invalid)
}

/// The number of values in a value, and how many levels deep it is.
fn extent(value: &Value) -> (usize, usize) {
    let deeper = |(nodes, levels): (usize, usize), child: &Value| {
        let below = extent(child);
        (nodes + below.0, levels.max(below.1 + 1))
    };
    match value {
        Value::Array(items) => items.iter().fold((1, 1), deeper),
        Value::Object(fields) => fields.values().fold((1, 1), deeper),
        _ => (1, 0),
    }
}

/// About the length of a value as JSON.
fn extent_bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => 2 + text.len(),
        Value::Array(items) => 2 + items.iter().map(|item| 1 + extent_bytes(item)).sum::<usize>(),
        Value::Object(fields) => 2 + fields.iter().map(|(key, item)| 4 + key.len() + extent_bytes(item)).sum::<usize>(),
        _ => 4,
    }
}
