//! The names of what quotas limit that have no domain: what each counts, and in what.

/// A name such as `requests.cpu`.
#[derive(Debug)]
pub struct Name {
    pub name: &'static str,
    /// The kind of object that uses it.
    pub of: &'static str,
    pub measure: Measure,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Of objects, or of things in them: whole.
    Count,
    Amount,
}

const fn count(name: &'static str, of: &'static str) -> Name {
    Name { name, of, measure: Measure::Count }
}

const fn amount(name: &'static str, of: &'static str) -> Name {
    Name { name, of, measure: Measure::Amount }
}

const NAMES: [Name; 19] = [
    amount("cpu", "pods"),
    amount("memory", "pods"),
    amount("ephemeral-storage", "pods"),
    amount("requests.cpu", "pods"),
    amount("requests.memory", "pods"),
    amount("requests.ephemeral-storage", "pods"),
    amount("limits.cpu", "pods"),
    amount("limits.memory", "pods"),
    amount("limits.ephemeral-storage", "pods"),
    count("pods", "pods"),
    count("services", "services"),
    count("services.nodeports", "services"),
    count("services.loadbalancers", "services"),
    count("persistentvolumeclaims", "persistentvolumeclaims"),
    amount("requests.storage", "persistentvolumeclaims"),
    // Counted under their bare names since before `count/` was made.
    count("configmaps", "configmaps"),
    count("resourcequotas", "resourcequotas"),
    count("replicationcontrollers", "replicationcontrollers"),
    count("secrets", "secrets"),
];

pub fn find(name: &str) -> Option<&'static Name> {
    NAMES.iter().find(|known| known.name == name)
}

/// Whether objects of the core group's kind use what has this name.
pub fn is_used_by(name: &str, plural: &str) -> bool {
    find(name).is_some_and(|known| known.of == plural)
}

pub fn is_count(name: &str) -> bool {
    find(name).is_some_and(|known| known.measure == Measure::Count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_every_kind_counts_itself() {
        for (index, name) in NAMES.iter().enumerate() {
            assert!(NAMES[..index].iter().all(|other| other.name != name.name), "{}", name.name);
            assert!(is_count(name.of) && is_used_by(name.of, name.of), "{}", name.of);
        }
    }
}
