//! One RBAC rule: what it allows, and whether it covers another.

use api::status::Status;
use serde_json::{Map, Value};

use crate::identity::{Attributes, Target};

/// A `PolicyRule`. An empty list names nothing, except that no `names` means any name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    pub verbs: Vec<Box<str>>,
    pub groups: Vec<Box<str>>,
    pub resources: Vec<Box<str>>,
    pub names: Vec<Box<str>>,
    pub paths: Vec<Box<str>>,
}

const FIELDS: [&str; 5] = ["apiGroups", "nonResourceURLs", "resourceNames", "resources", "verbs"];

impl Rule {
    pub fn from_value(value: &Value) -> Self {
        let [groups, paths, names, resources, verbs] = FIELDS.map(|field| strings(&value[field]));
        Self { verbs, groups, resources, names, paths }
    }

    /// The rules of a role or cluster role.
    pub fn list(role: &Value) -> Vec<Self> {
        role["rules"].as_array().into_iter().flatten().map(Self::from_value).collect()
    }

    pub fn to_value(&self) -> Value {
        let lists = [&self.groups, &self.paths, &self.names, &self.resources, &self.verbs];
        let mut value = Map::new();
        for (field, list) in FIELDS.into_iter().zip(lists) {
            if !list.is_empty() || field == "verbs" {
                value.insert(field.to_owned(), list.iter().map(|word| Value::from(&**word)).collect());
            }
        }
        Value::Object(value)
    }

    pub fn allows(&self, attributes: &Attributes<'_>) -> bool {
        match attributes.target {
            Target::Resource { group, resource, subresource, name, .. } => {
                has_or_star(&self.groups, group)
                    && self.names_resource(resource, subresource)
                    && has_or_star(&self.verbs, attributes.verb)
                    && (self.names.is_empty() || has(&self.names, name))
            }
            Target::Path(path) => {
                has_or_star(&self.verbs, attributes.verb) && self.paths.iter().any(|known| path_covers(known, path))
            }
        }
    }

    fn names_resource(&self, resource: &str, subresource: &str) -> bool {
        self.resources.iter().any(|known| match (known.split_once('/'), subresource) {
            _ if &**known == "*" => true,
            (None, "") => &**known == resource,
            (None, _) | (Some(_), "") => false,
            (Some((parent, child)), _) => child == subresource && (parent == "*" || parent == resource),
        })
    }

    /// The rule as the smallest rules that together say the same.
    fn atoms(&self) -> Vec<Rule> {
        let any_name = [None];
        let names: Vec<Option<&Box<str>>> = match self.names.as_slice() {
            [] => any_name.to_vec(),
            names => names.iter().map(Some).collect(),
        };
        let mut atoms = Vec::new();
        for group in &self.groups {
            for resource in &self.resources {
                for verb in &self.verbs {
                    atoms.extend(names.iter().map(|name| Rule {
                        groups: vec![group.clone()],
                        resources: vec![resource.clone()],
                        verbs: vec![verb.clone()],
                        names: name.iter().map(|name| (*name).clone()).collect(),
                        paths: Vec::new(),
                    }));
                }
            }
        }
        for path in &self.paths {
            let of_verb = |verb: &str| Rule { verbs: vec![verb.into()], paths: vec![path.clone()], ..Rule::default() };
            atoms.extend(self.verbs.iter().map(|verb| of_verb(verb)));
        }
        atoms
    }

    /// Whether everything that `atom` allows is allowed by this rule alone.
    fn covers(&self, atom: &Rule) -> bool {
        let resource_covered = |wanted: &str| {
            has_or_star(&self.resources, wanted)
                || wanted.split_once('/').is_some_and(|(_, child)| {
                    self.resources.iter().any(|known| known.strip_prefix("*/") == Some(child))
                })
        };
        atom.verbs.iter().all(|verb| has_or_star(&self.verbs, verb))
            && atom.groups.iter().all(|group| has_or_star(&self.groups, group))
            && atom.resources.iter().all(|resource| resource_covered(resource))
            && atom.paths.iter().all(|path| self.paths.iter().any(|known| path_covers(known, path)))
            && (self.names.is_empty() || !atom.names.is_empty() && atom.names.iter().all(|name| has(&self.names, name)))
    }

    /// As escalation messages show a rule: `{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}`.
    pub fn compact_text(&self) -> String {
        let parts = [
            ("APIGroups", &self.groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.paths),
            ("ResourceNames", &self.names),
            ("Verbs", &self.verbs),
        ];
        let shown = parts.iter().filter(|(_, list)| !list.is_empty());
        let shown: Vec<String> = shown.map(|(name, list)| format!("{name}:{}", quoted(list))).collect();
        format!("{{{}}}", shown.join(", "))
    }
}

/// The parts of `wanted` that `held` does not cover, in their smallest form. A request whose breakdown
/// would be absurdly large is refused rather than computed.
pub fn uncovered(held: &[Rule], wanted: &[Rule]) -> Result<Vec<Rule>, Status> {
    const MAX_ATOMS: usize = 1 << 15;
    let size = |rule: &Rule| {
        let product = rule.groups.len().saturating_mul(rule.resources.len()).saturating_mul(rule.names.len().max(1));
        product.saturating_add(rule.paths.len()).saturating_mul(rule.verbs.len())
    };
    let mut missing = Vec::new();
    let mut atoms = 0_usize;
    for rule in wanted {
        // What one held rule covers as a whole need not be taken apart.
        if held.iter().any(|held| held.covers(rule)) {
            continue;
        }
        atoms = atoms.saturating_add(size(rule));
        if atoms > MAX_ATOMS {
            return Err(Status::too_large(format!("the rules name more than {MAX_ATOMS} combinations")));
        }
        missing.extend(rule.atoms().into_iter().filter(|atom| !held.iter().any(|held| held.covers(atom))));
    }
    Ok(missing)
}

/// Joins atoms that differ in their verb only.
pub fn compact(atoms: Vec<Rule>) -> Vec<Rule> {
    let mut joined: Vec<Rule> = Vec::new();
    let mut position = std::collections::HashMap::new();
    for atom in atoms {
        if !atom.paths.is_empty() {
            joined.push(atom);
            continue;
        }
        let key = (atom.groups.clone(), atom.resources.clone(), atom.names.clone());
        match position.get(&key) {
            Some(index) => {
                let known: &mut Rule = &mut joined[*index];
                known.verbs.extend(atom.verbs);
            }
            None => {
                position.insert(key, joined.len());
                joined.push(atom);
            }
        }
    }
    joined
}

/// A list as Go's `%q` prints it: `["a" "b"]`.
pub fn quoted<T: AsRef<str>>(words: &[T]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("{:?}", word.as_ref())).collect();
    format!("[{}]", words.join(" "))
}

fn strings(value: &Value) -> Vec<Box<str>> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(Box::from).collect()
}

fn has(list: &[Box<str>], word: &str) -> bool {
    list.iter().any(|known| &**known == word)
}

fn has_or_star(list: &[Box<str>], word: &str) -> bool {
    list.iter().any(|known| &**known == word || &**known == "*")
}

/// `/healthz/*` covers all that starts with `/healthz/`.
fn path_covers(known: &str, path: &str) -> bool {
    known == path || known.ends_with('*') && path.starts_with(known.trim_end_matches('*'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// `verbs groups resources names` or `verbs paths`, lists separated by commas; `core` is the group
    /// without a name.
    fn rule(text: &str) -> Rule {
        let list = |text: &str| -> Vec<Box<str>> {
            text.split(',').map(|word| if word == "core" { "".into() } else { word.into() }).collect()
        };
        let words: Vec<&str> = text.split(' ').collect();
        match words.as_slice() {
            [verbs, paths] => Rule { verbs: list(verbs), paths: list(paths), ..Rule::default() },
            [verbs, groups, resources, names @ ..] => Rule {
                verbs: list(verbs),
                groups: list(groups),
                resources: list(resources),
                names: names.first().map(|names| list(names)).unwrap_or_default(),
                ..Rule::default()
            },
            _ => panic!("{text}"),
        }
    }

    #[test]
    fn what_is_not_covered_is_named() {
        let cases: [(&[&str], &str, &[&str]); 11] = [
            (&["* * *"], "get,list core,apps pods,pods/log a", &[]),
            (&["get core pods", "list core pods"], "get,list core pods", &[]),
            (&["get core pods"], "get,list core pods", &[r#"{APIGroups:[""], Resources:["pods"], Verbs:["list"]}"#]),
            (&["get core */log"], "get core pods/log", &[]),
            (&["get core */log"], "get core pods", &[r#"{APIGroups:[""], Resources:["pods"], Verbs:["get"]}"#]),
            (&["get core pods"], "get core pods a", &[]),
            (&["get core pods a"], "get core pods", &[r#"{APIGroups:[""], Resources:["pods"], Verbs:["get"]}"#]),
            (
                &["get core pods a"],
                "get core pods a,b",
                &[r#"{APIGroups:[""], Resources:["pods"], ResourceNames:["b"], Verbs:["get"]}"#],
            ),
            (&["get /healthz/*"], "get /healthz/ping", &[]),
            (&["get /healthz"], "get /healthz,/metrics", &[r#"{NonResourceURLs:["/metrics"], Verbs:["get"]}"#]),
            (&["* core *"], "* * *", &[r#"{APIGroups:["*"], Resources:["*"], Verbs:["*"]}"#]),
        ];
        for (held, wanted, expect) in cases {
            let held: Vec<Rule> = held.iter().map(|text| rule(text)).collect();
            let missing = compact(uncovered(&held, &[rule(wanted)]).unwrap());
            let missing: Vec<String> = missing.iter().map(Rule::compact_text).collect();
            assert_eq!(missing, expect, "{wanted}");
        }
    }

    #[test]
    fn a_rule_survives_the_way_to_a_document_and_back() {
        for text in ["get,list core,apps pods,pods/log a,b", "get /healthz,/livez/*", "* * *"] {
            assert_eq!(Rule::from_value(&rule(text).to_value()), rule(text));
        }
        assert_eq!(Rule::from_value(&json!({"verbs": 3, "resources": {"a": 1}})), Rule::default());
    }
}
