//! Hosts by the value of one label: which domain a host is in, and which hosts a domain has.

use std::collections::HashMap;

/// A host's number. Who uses this crate gives them out, from zero.
pub type Host = u32;
/// A domain's number within its topology.
pub type Domain = u32;

/// The domains of one label.
#[derive(Debug, Default)]
pub struct Topology {
    domains: HashMap<Box<str>, Domain>,
    names: Vec<Box<str>>,
    hosts: Vec<Vec<Host>>,
    of: Vec<Option<Domain>>,
    /// Domains that have hosts.
    inhabited: usize,
}

impl Topology {
    pub fn domain(&self, host: Host) -> Option<Domain> {
        self.of.get(host as usize).copied().flatten()
    }

    pub fn hosts(&self, domain: Domain) -> &[Host] {
        self.hosts.get(domain as usize).map_or(&[], Vec::as_slice)
    }

    pub fn name(&self, domain: Domain) -> &str {
        self.names.get(domain as usize).map_or("", |name| name)
    }

    /// Domains that have hosts.
    pub fn len(&self) -> usize {
        self.inhabited
    }

    pub fn is_empty(&self) -> bool {
        self.inhabited == 0
    }

    /// Puts a host into the domain of that name, or into none.
    pub fn place(&mut self, host: Host, value: Option<&str>) {
        let domain = value.map(|value| self.number(value));
        let index = host as usize;
        if self.of.len() <= index {
            self.of.resize(index + 1, None);
        }
        if self.of[index] == domain {
            return;
        }
        if let Some(old) = self.of[index] {
            let hosts = &mut self.hosts[old as usize];
            hosts.retain(|known| *known != host);
            self.inhabited -= usize::from(hosts.is_empty());
        }
        if let Some(new) = domain {
            let hosts = &mut self.hosts[new as usize];
            self.inhabited += usize::from(hosts.is_empty());
            hosts.push(host);
        }
        self.of[index] = domain;
    }

    fn number(&mut self, value: &str) -> Domain {
        if let Some(domain) = self.domains.get(value) {
            return *domain;
        }
        let domain = self.names.len() as Domain;
        self.domains.insert(value.into(), domain);
        self.names.push(value.into());
        self.hosts.push(Vec::new());
        domain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_move_between_domains() {
        let mut zones = Topology::default();
        zones.place(0, Some("a"));
        zones.place(2, Some("a"));
        zones.place(1, Some("b"));
        let a = zones.domain(0).unwrap();
        assert_eq!((zones.hosts(a), zones.len(), zones.name(a)), (&[0, 2][..], 2, "a"));
        zones.place(1, None);
        zones.place(2, Some("c"));
        assert_eq!((zones.hosts(a), zones.domain(1), zones.len()), (&[0][..], None, 2));
    }
}
