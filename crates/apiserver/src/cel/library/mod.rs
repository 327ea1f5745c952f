//! The functions of the language and of Kubernetes' libraries, as tables: signatures, what a call
//! costs, and what it does.

pub mod access;
pub mod convert;
pub mod duration;
pub mod quantity;
pub mod regex;
pub mod url;

mod format;
mod lists;
mod network;
mod operators;
mod optional;
mod signature;
mod strings;
mod time;
mod version;

use std::{collections::HashMap, sync::LazyLock};

use super::{Budget, Failure, types::Type, value::Value};
use signature::Signature;

pub type Outcome<'a> = Result<Value<'a>, Failure>;

/// What a function does. Arguments that fit none of its signatures, which only untyped values bring
/// about, are `Failure::NoOverload`.
pub type Run = for<'a> fn(&[Value<'a>], &Budget) -> Outcome<'a>;

/// A line of a table.
pub struct Entry {
    /// `string.startsWith(string): bool`; of one function all.
    signatures: &'static [&'static str],
    cost: Cost,
    run: Run,
}

const fn entry(signatures: &'static [&'static str], cost: Cost, run: Run) -> Entry {
    Entry { signatures, cost, run }
}

/// What a call costs when it runs, by the sizes of its arguments. What it may cost at worst is in `cost`.
#[derive(Debug, Clone, Copy)]
pub enum Cost {
    Fixed(u64),
    /// So many passes over the first argument.
    Passes(u64),
    /// One pass over the shorter of two.
    Shorter,
    /// The first argument is matched against the second, a pattern.
    Pattern,
    /// Every element of the first with every one of the second.
    Product,
}

impl Cost {
    fn of(self, sizes: &[u64]) -> u64 {
        let size = |index: usize| sizes.get(index).copied().unwrap_or(1);
        match self {
            Cost::Fixed(cost) => cost,
            Cost::Passes(passes) => size(0).saturating_mul(passes).div_ceil(10).max(1),
            Cost::Shorter => size(0).min(size(1)).div_ceil(10).max(1),
            Cost::Pattern => (size(0).saturating_add(1)).div_ceil(10).saturating_mul(size(1).div_ceil(4)).max(1),
            Cost::Product => size(0).saturating_mul(size(1)).saturating_add(1),
        }
    }
}

#[derive(Debug)]
pub struct Function {
    signatures: Vec<Signature>,
    cost: Cost,
    pub run: Run,
}

impl Function {
    /// The type of a call's result, if the arguments fit a signature.
    pub fn result(&self, has_receiver: bool, arguments: &[&Type]) -> Option<Type> {
        let mut results = self.signatures.iter().filter_map(|signature| signature.apply(has_receiver, arguments));
        let first = results.next()?;
        // Untyped arguments may fit several signatures: the result is known only if all agree.
        let same = results.all(|other| std::mem::discriminant(&other) == std::mem::discriminant(&first));
        Some(if same { first } else { Type::Dyn })
    }

    pub fn charge(&self, arguments: &[Value<'_>]) -> u64 {
        let mut weights = [1; 4];
        for (weight, argument) in weights.iter_mut().zip(arguments) {
            *weight = argument.weight();
        }
        self.cost.of(&weights[..arguments.len().min(4)])
    }
}

pub fn function(name: &str) -> Option<&'static Function> {
    FUNCTIONS.get(name)
}

const TABLES: [&[Entry]; 13] = [
    operators::TABLE,
    convert::TABLE,
    strings::TABLE,
    regex::TABLE,
    lists::TABLE,
    time::TABLE,
    optional::TABLE,
    url::TABLE,
    quantity::TABLE,
    network::TABLE,
    version::TABLE,
    format::TABLE,
    access::TABLE,
];

static FUNCTIONS: LazyLock<HashMap<&'static str, Function>> = LazyLock::new(|| {
    let entries = TABLES.into_iter().flatten();
    entries
        .map(|entry| {
            let signatures: Vec<(&str, Signature)> =
                entry.signatures.iter().map(|text| signature::parse(text)).collect();
            let name = signatures.first().map_or("", |(name, _)| *name);
            let signatures = signatures.into_iter().map(|(_, signature)| signature).collect();
            (name, Function { signatures, cost: entry.cost, run: entry.run })
        })
        .collect()
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signature_is_well_formed_and_every_name_unique() {
        assert!(function("_+_").is_some());
        assert_eq!(FUNCTIONS.len(), TABLES.into_iter().flatten().count(), "all signatures of a name are in one entry");
    }
}
