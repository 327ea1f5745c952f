//! Even spreading over domains, as a rule that refuses and as a preference
//! (the page on pod topology spread constraints has the formulas).

/// How a domain stands against the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skew {
    /// Items of the sort in the domain.
    pub here: i64,
    /// Whether the new item is of the sort.
    pub counts_itself: bool,
    /// The least of any domain; none while there are fewer domains than there should be.
    pub least: Option<i64>,
}

impl Skew {
    pub fn after(self) -> i64 {
        self.here + i64::from(self.counts_itself) - self.least.unwrap_or(0)
    }

    pub fn exceeds(self, most: i64) -> bool {
        self.after() > most
    }
}

/// What a difference of one counts among that many domains: the fewer there are, the less.
pub fn weight(domains: usize) -> f64 {
    (domains as f64 + 2.0).ln()
}

/// How crowded a domain is; differences below `most` are watered down.
pub fn crowding(here: i64, most: i32, weight: f64) -> f64 {
    here as f64 * weight + f64::from(most - 1)
}

/// From 0 for the most crowded towards 100 for the least, all being equal if nothing is crowded.
pub fn preference(crowding: i64, least: i64, most: i64) -> i64 {
    if most == 0 { 100 } else { 100 * (most + least - crowding) / most }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_more_must_not_tower_over_the_least() {
        let skew = |here, least| Skew { here, counts_itself: true, least };
        assert!(!skew(1, Some(1)).exceeds(1));
        assert!(skew(2, Some(1)).exceeds(1));
        // With too few domains the least is taken to be nothing.
        assert!(skew(1, None).exceeds(1));
        assert!(!Skew { here: 2, counts_itself: false, least: Some(1) }.exceeds(1));
    }

    #[test]
    fn the_emptier_domain_is_preferred() {
        assert_eq!([0, 1, 2].map(|here| preference(here, 0, 2)), [100, 50, 0]);
        assert_eq!(preference(0, 0, 0), 100);
    }
}
