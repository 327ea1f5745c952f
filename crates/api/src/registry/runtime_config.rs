//! Which built-in groups and versions are served: `--runtime-config`, as kube-apiserver has it.

use crate::builtin::{self, Version};

/// Switches on top of the table: `resource.k8s.io/v1beta1=true`, `api/beta=true`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuntimeConfig {
    switches: Vec<(Which, bool)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Which {
    Version { group: String, version: String },
    All,
    Stable,
    Beta,
    Alpha,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeConfigError {
    #[error("runtime-config: no built-in group and version is called {0:?}")]
    Unknown(String),
    #[error("runtime-config: {0:?} must be true or false")]
    Value(String),
}

impl RuntimeConfig {
    /// `a/v1=true,api/alpha=false`; a bare name means true, and the core group's version is `v1`.
    pub fn parse(text: &str) -> Result<Self, RuntimeConfigError> {
        let mut switches = Vec::new();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let (name, value) = entry.split_once('=').unwrap_or((entry, "true"));
            let on = value.parse().map_err(|_| RuntimeConfigError::Value(entry.to_owned()))?;
            switches.push((Which::parse(name)?, on));
        }
        Ok(Self { switches })
    }

    /// The most specific switch decides, whatever the order.
    pub(super) fn serves(&self, group: &str, version: &Version) -> bool {
        let stability = match version.name {
            name if name.contains("alpha") => Which::Alpha,
            name if name.contains("beta") => Which::Beta,
            _ => Which::Stable,
        };
        let exact = Which::Version { group: group.to_owned(), version: version.name.to_owned() };
        let switch = |which: &Which| self.switches.iter().rev().find(|(known, _)| known == which).map(|(_, on)| *on);
        [exact, stability, Which::All].iter().find_map(switch).unwrap_or(version.served)
    }
}

impl Which {
    fn parse(name: &str) -> Result<Self, RuntimeConfigError> {
        let (group, version) = match name {
            "api/all" => return Ok(Which::All),
            "api/ga" => return Ok(Which::Stable),
            "api/beta" => return Ok(Which::Beta),
            "api/alpha" => return Ok(Which::Alpha),
            _ => name.rsplit_once('/').unwrap_or(("", name)),
        };
        let known = builtin::groups().iter().find(|known| known.name == group);
        match known.filter(|known| known.versions.iter().any(|known| known.name == version)) {
            Some(_) => Ok(Which::Version { group: group.to_owned(), version: version.to_owned() }),
            None => Err(RuntimeConfigError::Unknown(name.to_owned())),
        }
    }
}
