//! Rules about domains: which refuse, and what they make of the rest. They look at counts only, so that hosts with the same
//! counts are asked about once.

use placement::{
    Tally,
    spread::{self, Skew},
};

use crate::{
    class::Rules,
    cluster::{Cluster, TallyId},
    refusal::Refusal,
};

/// The count of each column where a host stands; none where it is in no domain.
pub type Values = [Option<i64>];

/// What rules look at where a host stands.
#[derive(Clone, Copy)]
pub struct Counts<'a> {
    pub here: &'a Values,
    /// By column, what pods that are promised room on the host would add; empty where none would.
    pub promised: &'a [i64],
}

impl Counts<'_> {
    fn more(self, column: usize) -> i64 {
        self.promised.get(column).copied().unwrap_or(0)
    }

    fn at(self, column: usize) -> Option<i64> {
        self.here[column].map(|count| count + self.more(column))
    }

    fn total(self, tally: &Tally, column: usize) -> i64 {
        tally.total() + self.more(column)
    }

    fn least(self, tally: &Tally, column: usize) -> Option<i64> {
        match (self.here[column], self.more(column)) {
            (Some(here), more @ 1..) => tally.least_with(here, more),
            _ => tally.least(),
        }
    }
}

/// Where hosts stand, for the words of a refusal.
pub type DomainName<'a> = &'a dyn Fn(usize) -> Box<str>;

impl Rules {
    /// Calls `refuse` with what keeps the pod from hosts with these counts, until it returns false.
    pub fn ask(
        &self,
        cluster: &Cluster,
        counts: Counts<'_>,
        name: DomainName<'_>,
        refuse: &mut dyn FnMut(Refusal) -> bool,
    ) {
        if let Some(refusal) = self.spread(cluster, counts, name)
            && !refuse(refusal)
        {
            return;
        }
        if let Some(refusal) = self.affinity(cluster, counts, name) {
            refuse(refusal);
        }
    }

    /// Whether hosts with these counts are allowed, be the promises kept or not.
    pub fn allow(&self, cluster: &Cluster, counts: Counts<'_>) -> bool {
        let allows = |counts| {
            let mut allowed = true;
            self.ask(cluster, counts, &|_| "".into(), &mut |_| {
                allowed = false;
                false
            });
            allowed
        };
        allows(counts) && (counts.promised.is_empty() || allows(Counts { promised: &[], ..counts }))
    }

    fn spread(&self, cluster: &Cluster, counts: Counts<'_>, name: DomainName<'_>) -> Option<Refusal> {
        for rule in &self.hard {
            let tally = cluster.tally_of(self.columns[rule.column]);
            let Some(here) = counts.at(rule.column) else {
                return Some(Refusal::SpreadLabel { key: self.key(cluster, rule.column) });
            };
            let least = counts.least(tally, rule.column).filter(|_| tally.domains() >= rule.min_domains);
            let skew = Skew { here, counts_itself: rule.counts_itself, least };
            if skew.exceeds(rule.most) {
                let (key, domain) = (self.key(cluster, rule.column), name(self.topology(cluster, rule.column)));
                return Some(Refusal::Spread { key, domain, here, least: least.unwrap_or(0), most: rule.most });
            }
        }
        None
    }

    fn affinity(&self, cluster: &Cluster, counts: Counts<'_>, name: DomainName<'_>) -> Option<Refusal> {
        let key = |column| self.key(cluster, column);
        let domain = |column| name(self.topology(cluster, column));
        let absent = self.near.iter().find(|column| counts.at(**column).is_none());
        let lonely = self.near.iter().find(|column| counts.at(**column).is_none_or(|count| count == 0));
        // The first of pods that want to be near each other may start anywhere.
        let nobody = |column: &usize| counts.total(cluster.tally_of(self.columns[*column]), *column) == 0;
        let first = || self.near_itself && self.near.iter().all(nobody);
        if let Some(column) = absent.or(lonely.filter(|_| !first())) {
            return Some(Refusal::NotNear { key: key(*column) });
        }
        let met = |columns: &[usize]| {
            columns.iter().copied().find(|column| counts.at(*column).is_some_and(|count| count > 0))
        };
        if let Some(column) = met(&self.apart) {
            return Some(Refusal::TooNear { key: key(column), domain: domain(column) });
        }
        met(&self.kept_away).map(|column| Refusal::KeptAway { key: key(column), domain: domain(column) })
    }

    fn topology(&self, cluster: &Cluster, column: usize) -> usize {
        cluster.tally_topology(self.columns[column])
    }

    fn key(&self, cluster: &Cluster, column: usize) -> Box<str> {
        cluster.topology_key(self.topology(cluster, column)).into()
    }

    /// Whether the soft spread rules leave hosts with these counts out of the comparison.
    pub fn ignores(&self, values: &Values) -> bool {
        self.soft_needs_all && self.soft.iter().any(|rule| values[rule.column].is_none())
    }

    /// How crowded hosts with these counts are, given what a difference counts for each soft rule.
    pub fn crowding(&self, values: &Values, weights: &[f64]) -> i64 {
        let parts = self
            .soft
            .iter()
            .zip(weights)
            .filter_map(|(rule, weight)| Some(spread::crowding(values[rule.column]?, rule.most, *weight)));
        parts.sum::<f64>().round() as i64
    }

    /// How much hosts with these counts are liked, by the pod and by those there.
    pub fn liking(&self, values: &Values) -> i64 {
        self.liked.iter().filter_map(|(column, weight)| Some(values[*column]? * weight)).sum()
    }

    /// Whether any pod there is has to do with whom the pod likes.
    pub fn likes_anyone(&self, cluster: &Cluster) -> bool {
        self.liked.iter().any(|(column, _)| cluster.tally_of(self.columns[*column]).total() != 0)
    }

    pub fn tally(&self, column: usize) -> TallyId {
        self.columns[column]
    }
}
