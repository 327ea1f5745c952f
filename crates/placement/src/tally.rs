//! How many items of a sort each domain has, and what the least of it is.

use std::collections::BTreeMap;

use crate::Domain;

/// Counts by domain. A domain takes part in the comparison as long as one of its hosts does.
#[derive(Debug, Default)]
pub struct Tally {
    counts: Vec<i64>,
    /// Hosts that take part, by domain.
    hosts: Vec<u32>,
    /// How many of the domains that take part have a count.
    levels: BTreeMap<i64, u32>,
    total: i64,
    domains: usize,
}

impl Tally {
    pub fn count(&self, domain: Domain) -> i64 {
        self.counts.get(domain as usize).copied().unwrap_or(0)
    }

    /// Over all domains.
    pub fn total(&self) -> i64 {
        self.total
    }

    /// Domains that take part.
    pub fn domains(&self) -> usize {
        self.domains
    }

    /// The smallest count of a domain that takes part.
    pub fn least(&self) -> Option<i64> {
        self.levels.first_key_value().map(|(level, _)| *level)
    }

    /// What the least would be if a domain that takes part and counts `count` had `more` of them.
    pub fn least_with(&self, count: i64, more: i64) -> Option<i64> {
        let mut levels = self.levels.iter();
        let (least, domains) = levels.next()?;
        if *least != count || *domains > 1 {
            return Some(*least);
        }
        let raised = count + more;
        Some(levels.next().map_or(raised, |(next, _)| raised.min(*next)))
    }

    pub fn takes_part(&self, domain: Domain) -> bool {
        self.hosts.get(domain as usize).is_some_and(|hosts| *hosts > 0)
    }

    pub fn add(&mut self, domain: Domain, change: i64) {
        self.reach(domain);
        let index = domain as usize;
        let before = self.counts[index];
        self.counts[index] += change;
        self.total += change;
        if self.hosts[index] > 0 {
            self.leave(before);
            *self.levels.entry(before + change).or_default() += 1;
        }
    }

    /// A host of that domain takes part from now on.
    pub fn join(&mut self, domain: Domain) {
        self.reach(domain);
        let index = domain as usize;
        self.hosts[index] += 1;
        if self.hosts[index] == 1 {
            self.domains += 1;
            *self.levels.entry(self.counts[index]).or_default() += 1;
        }
    }

    /// A host of that domain takes part no longer.
    pub fn part(&mut self, domain: Domain) {
        let index = domain as usize;
        if !self.takes_part(domain) {
            return;
        }
        self.hosts[index] -= 1;
        if self.hosts[index] == 0 {
            self.domains -= 1;
            self.leave(self.counts[index]);
        }
    }

    fn reach(&mut self, domain: Domain) {
        let wanted = domain as usize + 1;
        if self.counts.len() < wanted {
            self.counts.resize(wanted, 0);
            self.hosts.resize(wanted, 0);
        }
    }

    fn leave(&mut self, level: i64) {
        if let Some(domains) = self.levels.get_mut(&level) {
            *domains -= 1;
            if *domains == 0 {
                self.levels.remove(&level);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_follows_the_domains_that_take_part() {
        let mut tally = Tally::default();
        for domain in 0..3 {
            tally.join(domain);
        }
        tally.add(0, 2);
        tally.add(1, 1);
        assert_eq!((tally.least(), tally.total(), tally.domains()), (Some(0), 3, 3));
        // The last of those that have least is raised, up to the next.
        assert_eq!([0, 1, 2].map(|more| tally.least_with(0, more)), [Some(0), Some(1), Some(1)]);
        assert_eq!(tally.least_with(2, 5), Some(0));
        tally.part(2);
        assert_eq!((tally.least(), tally.domains()), (Some(1), 2));
        tally.add(2, 5);
        tally.part(1);
        assert_eq!((tally.least(), tally.count(2)), (Some(2), 5));
        tally.part(0);
        assert_eq!(tally.least(), None);
    }
}
