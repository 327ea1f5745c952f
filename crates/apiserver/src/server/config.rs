//! What a server is told, and what of it cannot work.

use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
    sync::Arc,
};

use api::{
    registry::{self, Registry, RuntimeConfig},
    syntax,
};

use crate::{bootstrap, engine::allocation::Allocation, pki};

/// What a server needs to be told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Everything the server keeps lies below it: `pki/`, `state/`.
    pub data_dir: PathBuf,
    pub bind: SocketAddr,
    /// The name or address by which clients reach it, beside those of the machine itself.
    pub advertise: Vec<String>,
    pub runtime_config: RuntimeConfig,
    /// IPv4 range of service addresses; its first address is the server's own.
    pub service_cidr: String,
    /// From which services get their ports on every node.
    pub service_node_ports: RangeInclusive<u16>,
    pub audit_log: Option<PathBuf>,
    /// How much of the past can be read and watched from.
    pub history: store::HistoryLimits,
    /// Whether to go on with what is left where the end of the state is lost.
    pub accept_data_loss: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot use the directory {path}")]
    Directory { path: PathBuf, source: std::io::Error },
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("cannot append to the audit log {path}")]
    AuditLog { path: PathBuf, source: std::io::Error },
    #[error("--service-cidr {0:?}: must be an IPv4 network of 8 to 30 bits, named by its first address: 10.96.0.0/12")]
    ServiceRange(String),
    #[error("--advertise {0:?}: must be an IP address or a DNS name")]
    Advertise(String),
    #[error(
        "--runtime-config: {0} cannot be switched off, for the server keeps objects of its own there; add {0}=true to the \
         list, or leave out of it what switches {0} off"
    )]
    NotServed(String),
    #[error(
        "{} holds the keys of a cluster, but {} holds no state: restore that from a backup, or remove the keys too to \
         start a new cluster", pki.display(), state.display()
    )]
    NoState { pki: PathBuf, state: PathBuf },
    #[error(
        "{} is missing, but {} holds the state of a cluster: restore the key from a backup, or go on with a new one by \
         --accept-data-loss, which makes every kubeconfig, certificate or token that it signed void", key.display(),
        state.display()
    )]
    NoKey { key: PathBuf, state: PathBuf },
    #[error(transparent)]
    Pki(#[from] pki::PkiError),
    #[error("{error}{remedy}", error = .0, remedy = remedy(.0))]
    Store(store::OpenError),
    #[error("the first objects could not be written: {0}")]
    Bootstrap(String),
}

/// What a user can do about a state that is damaged.
fn remedy(error: &store::OpenError) -> &'static str {
    match error {
        error if error.is_lost_end() => {
            "; nothing was changed: restore the data directory from a backup, or copy it and go on with what is left \
             by --accept-data-loss"
        }
        error if error.is_damage() => "; restore the data directory from a backup",
        _ => "",
    }
}

/// What a configuration that can work comes to.
pub(super) struct Checked {
    pub allocation: Allocation,
    pub registry: Arc<Registry>,
}

impl Config {
    /// A server on the loopback, at a port that is free, with everything else as it mostly is.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            bind: SocketAddr::from(([127, 0, 0, 1], 0)),
            advertise: Vec::new(),
            runtime_config: RuntimeConfig::default(),
            service_cidr: "10.96.0.0/12".to_owned(),
            service_node_ports: 30000..=32767,
            audit_log: None,
            history: store::HistoryLimits::default(),
            accept_data_loss: false,
        }
    }

    /// Refuses what cannot work before anything is made.
    pub(super) fn check(&self) -> Result<Checked, StartError> {
        let is_name = |name: &str| {
            name.parse::<IpAddr>().is_ok() || syntax::is_dns1123_subdomain(&name.to_ascii_lowercase()).is_empty()
        };
        if let Some(name) = self.advertise.iter().find(|name| !is_name(name)) {
            return Err(StartError::Advertise(name.clone()));
        }
        let allocation = Allocation::parse(&self.service_cidr, self.service_node_ports.clone())
            .ok_or_else(|| StartError::ServiceRange(self.service_cidr.clone()))?;
        let registry = Arc::new(crate::rules::complete(registry::registry(&self.runtime_config)));
        match bootstrap::first_not_served(&registry) {
            None => Ok(Checked { allocation, registry }),
            Some(("", version)) => Err(StartError::NotServed(version.to_owned())),
            Some((group, version)) => Err(StartError::NotServed(format!("{group}/{version}"))),
        }
    }
    /// The flags that say the same.
    pub(super) fn flags(&self) -> Vec<(&'static str, String)> {
        let path = |path: &Option<PathBuf>| path.as_ref().map_or(String::new(), |path| path.display().to_string());
        vec![
            ("advertise", format!("[{}]", self.advertise.join(","))),
            ("api-port", self.bind.port().to_string()),
            ("audit-log", path(&self.audit_log)),
            ("bind-address", self.bind.ip().to_string()),
            ("data-dir", self.data_dir.display().to_string()),
            ("service-cidr", self.service_cidr.clone()),
        ]
    }

    /// Where pods reach this server: the first address it is told to advertise, else the one it is bound to.
    pub(super) fn advertised(&self, bound: SocketAddr) -> SocketAddr {
        let given = self.advertise.iter().find_map(|name| name.parse::<std::net::IpAddr>().ok());
        given.map_or(bound, |ip| SocketAddr::new(ip, bound.port()))
    }

    /// What the serving certificate is to speak for, beside the machine itself.
    pub(super) fn names(&self) -> Vec<String> {
        let bind = self.bind.ip();
        let bound = (!bind.is_unspecified()).then(|| bind.to_string());
        self.advertise.iter().cloned().chain(bound).collect()
    }
}
