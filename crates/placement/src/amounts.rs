//! Amounts of several resources at once, and what is left of a host's.

/// Which resource an amount is of. Who uses this crate gives the numbers out, the commonest first.
pub type Dimension = u16;

/// The dimensions that stand in the struct itself.
const COMMON: usize = 4;

/// An amount for each dimension; zero where nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Amounts {
    common: [i64; COMMON],
    /// Sorted by dimension.
    rare: Vec<(Dimension, i64)>,
}

impl Amounts {
    pub fn get(&self, dimension: Dimension) -> i64 {
        match self.common.get(usize::from(dimension)) {
            Some(amount) => *amount,
            None => self.rare.iter().find(|(known, _)| *known == dimension).map_or(0, |(_, amount)| *amount),
        }
    }

    pub fn set(&mut self, dimension: Dimension, amount: i64) {
        match self.common.get_mut(usize::from(dimension)) {
            Some(known) => *known = amount,
            None => match self.rare.binary_search_by_key(&dimension, |(known, _)| *known) {
                Ok(at) => self.rare[at].1 = amount,
                Err(at) => self.rare.insert(at, (dimension, amount)),
            },
        }
    }

    pub fn add(&mut self, other: &Self) {
        self.merge(other, 1);
    }

    pub fn subtract(&mut self, other: &Self) {
        self.merge(other, -1);
    }

    fn merge(&mut self, other: &Self, sign: i64) {
        for (amount, more) in self.common.iter_mut().zip(other.common) {
            *amount = amount.saturating_add(sign * more);
        }
        for (dimension, more) in &other.rare {
            self.set(*dimension, self.get(*dimension).saturating_add(sign * more));
        }
    }

    /// What is not zero.
    pub fn iter(&self) -> impl Iterator<Item = (Dimension, i64)> {
        let common = self.common.iter().enumerate().map(|(dimension, amount)| (dimension as Dimension, *amount));
        common.chain(self.rare.iter().copied()).filter(|(_, amount)| *amount != 0)
    }
}

impl FromIterator<(Dimension, i64)> for Amounts {
    fn from_iter<I: IntoIterator<Item = (Dimension, i64)>>(amounts: I) -> Self {
        let mut all = Self::default();
        for (dimension, amount) in amounts {
            all.set(dimension, amount);
        }
        all
    }
}

/// What a host has, and what of it is taken.
#[derive(Debug, Clone, Default)]
pub struct Capacity {
    pub total: Amounts,
    pub used: Amounts,
}

/// A demand that is not met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortage {
    pub dimension: Dimension,
    pub demand: i64,
    pub used: i64,
    pub total: i64,
}

impl Capacity {
    pub fn free(&self, dimension: Dimension) -> i64 {
        self.total.get(dimension).saturating_sub(self.used.get(dimension))
    }

    /// What the host lacks for this demand, by dimension. A demand of nothing is always met, however full the host is.
    pub fn shortages<'a>(&'a self, demand: &'a Amounts) -> impl Iterator<Item = Shortage> + 'a {
        demand.iter().filter_map(|(dimension, demand)| {
            let (used, total) = (self.used.get(dimension), self.total.get(dimension));
            (demand > 0 && demand > total.saturating_sub(used)).then_some(Shortage { dimension, demand, used, total })
        })
    }

    pub fn fits(&self, demand: &Amounts) -> bool {
        self.shortages(demand).next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_comes_back() {
        let demand: Amounts = [(0, 5), (9, 2)].into_iter().collect();
        let mut host = Capacity { total: [(0, 8), (9, 3)].into_iter().collect(), used: Amounts::default() };
        assert!(host.fits(&demand));
        host.used.add(&demand);
        let shortages: Vec<Shortage> = host.shortages(&demand).collect();
        assert_eq!(
            shortages,
            [
                Shortage { dimension: 0, demand: 5, used: 5, total: 8 },
                Shortage { dimension: 9, demand: 2, used: 2, total: 3 }
            ]
        );
        host.used.subtract(&demand);
        assert!(host.fits(&demand));
    }

    #[test]
    fn nothing_fits_where_nothing_is_left() {
        let overfull = Capacity { total: Amounts::default(), used: [(1, 7)].into_iter().collect() };
        assert!(overfull.fits(&Amounts::default()));
        assert!(!overfull.fits(&[(1, 1)].into_iter().collect()));
    }
}
