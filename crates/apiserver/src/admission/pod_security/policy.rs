//! The labels by which a namespace says what its pods may do.

use std::fmt;

use api::field::{FieldError, FieldErrors, Path};
use serde_json::Value;

/// Of the labels, and of what is noted in the audit log.
pub const PREFIX: &str = "pod-security.kubernetes.io/";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Privileged,
    Baseline,
    Restricted,
}

/// A level as a minor version of Kubernetes defined it; `None` is the latest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standard {
    pub level: Level,
    pub version: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub enforce: Standard,
    pub audit: Standard,
    pub warn: Standard,
}

impl Policy {
    /// The policy, and what is wrong with the labels. A level that cannot be read is enforced as the
    /// strictest and warned of as the loosest.
    pub fn of(labels: &Value) -> (Self, FieldErrors) {
        let mut errors = FieldErrors::new();
        let free = Standard { level: Level::Privileged, version: None };
        let (mut enforce, mut audit, mut warn) = (free, free, free);
        for (mode, standard) in [("enforce", &mut enforce), ("audit", &mut audit), ("warn", &mut warn)] {
            let (label, version_label) = (format!("{PREFIX}{mode}"), format!("{PREFIX}{mode}-version"));
            if let Some(text) = labels[&label].as_str() {
                standard.level = Level::parse(text).unwrap_or_else(|| {
                    invalid(&label, text, "must be one of privileged, baseline, restricted", &mut errors);
                    if mode == "enforce" { Level::Restricted } else { Level::Privileged }
                });
            }
            if let Some(text) = labels[&version_label].as_str() {
                standard.version = parse_version(text).unwrap_or_else(|| {
                    invalid(&version_label, text, r#"must be "latest" or "v1.x""#, &mut errors);
                    None
                });
            }
        }
        let enforced = labels[format!("{PREFIX}enforce")].as_str().and_then(Level::parse);
        let is_silent = |name: &str| labels[format!("{PREFIX}{name}")].is_null();
        // Whoever creates a workload should hear of what its pods will run into.
        if is_silent("warn") && enforced.is_some_and(|level| level > warn.level) {
            warn.level = enforce.level;
            if is_silent("warn-version") {
                warn.version = enforce.version;
            }
        }
        (Self { enforce, audit, warn }, errors)
    }
}

fn invalid(label: &str, value: &str, detail: &str, errors: &mut FieldErrors) {
    let metadata = Path::new("metadata");
    errors.push(FieldError::invalid(&metadata.child("labels").key(label), value, detail));
}

impl Level {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "privileged" => Some(Level::Privileged),
            "baseline" => Some(Level::Baseline),
            "restricted" => Some(Level::Restricted),
            _ => None,
        }
    }
}

/// `latest` or `v1.x`.
fn parse_version(text: &str) -> Option<Option<u32>> {
    if text == "latest" {
        return Some(None);
    }
    let minor = text.strip_prefix("v1.")?;
    let plain = minor.bytes().all(|byte| byte.is_ascii_digit()) && (minor == "0" || !minor.starts_with('0'));
    if plain { minor.parse().ok().map(Some) } else { None }
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        };
        match self.version {
            None => write!(f, "{level}:latest"),
            Some(minor) => write!(f, "{level}:v1.{minor}"),
        }
    }
}
