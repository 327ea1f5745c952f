//! What is used of one quota: a sum for each name it limits, and what each object is counted for. An object can be
//! counted again at any time; its latest count is the one that holds.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use api::quota::{Amounts, Counted, hard};
use document::Quantity;
use serde_json::{Value, json};

/// Amounts by the position of their names in a [`Tally`]. There is one for each object: nothing but what counts.
pub type Charge = Box<[(u16, Quantity)]>;

#[derive(Debug)]
pub struct Tally {
    quota: Arc<Value>,
    names: Vec<String>,
    used: Vec<Quantity>,
    charges: HashMap<Arc<str>, Charge>,
}

impl Tally {
    pub fn new(quota: Arc<Value>) -> Self {
        let mut names: Vec<String> =
            hard(&quota).map(|(name, _)| name.clone()).filter(|name| Counted::of(name).covers(name)).collect();
        names.sort_unstable();
        Self { used: vec![Quantity::ZERO; names.len()], names, charges: HashMap::new(), quota }
    }

    pub fn quota(&self) -> &Arc<Value> {
        &self.quota
    }

    /// Takes a later state of the quota, if it counts the same objects for the same: its limits may be others.
    pub fn succeed(&mut self, later: &Arc<Value>) -> bool {
        let rules = |quota: &Value| [quota["spec"]["scopes"].clone(), quota["spec"]["scopeSelector"].clone()];
        let same = hard(&self.quota).map(|(name, _)| name).eq(hard(later).map(|(name, _)| name))
            && rules(&self.quota) == rules(later)
            && self.quota["metadata"]["uid"] == later["metadata"]["uid"];
        if same {
            self.quota = Arc::clone(later);
        }
        same
    }

    /// Where the objects are stored that can count.
    pub fn topics(&self) -> BTreeSet<String> {
        self.names.iter().map(|name| Counted::of(name).topic()).collect()
    }

    /// What an object counts for.
    pub fn charge(&self, counted: Counted<'_>, object: &Value, now_seconds: i64) -> Charge {
        if !counted.is_counted_by(&self.quota, object) {
            return Charge::default();
        }
        let usage = counted.usage(object, now_seconds).into_iter().filter(|(_, amount)| !amount.is_zero());
        usage
            .filter_map(|(name, amount)| {
                // A quota has fewer names than a u16 has numbers: a request would not hold them.
                let position = self.names.binary_search(&name).ok()?;
                Some((u16::try_from(position).ok()?, amount))
            })
            .collect()
    }

    pub fn set(&mut self, key: &Arc<str>, charge: Charge) {
        self.remove(key);
        if charge.is_empty() {
            return;
        }
        for (position, amount) in &charge {
            let sum = &mut self.used[usize::from(*position)];
            *sum = sum.plus(*amount);
        }
        self.charges.insert(Arc::clone(key), charge);
    }

    pub fn remove(&mut self, key: &str) {
        for (position, amount) in self.charges.remove(key).unwrap_or_default() {
            let sum = &mut self.used[usize::from(position)];
            *sum = sum.minus(amount);
        }
    }

    /// Forgets the objects under a prefix.
    pub fn clear(&mut self, prefix: &str) {
        let keys: Vec<Arc<str>> = self.charges.keys().filter(|key| key.starts_with(prefix)).cloned().collect();
        keys.iter().for_each(|key| self.remove(key));
    }

    /// What is used once these writes, by their keys, are stored, too. Of the states that an object may be in by then
    /// the largest counts.
    pub fn used_after<'p>(&self, promised: impl IntoIterator<Item = (&'p str, &'p Amounts)>) -> Amounts {
        let mut more: HashMap<(&str, usize), Quantity> = HashMap::new();
        for (key, usage) in promised {
            let stored = self.charges.get(key).map_or(&[][..], |charge| charge);
            for (name, amount) in usage {
                let Ok(position) = self.names.binary_search(name) else { continue };
                let known = stored.iter().find(|(at, _)| usize::from(*at) == position);
                let growth = amount.minus(known.map_or(Quantity::ZERO, |(_, known)| *known));
                let largest = more.entry((key, position)).or_insert(Quantity::ZERO);
                *largest = growth.max(*largest);
            }
        }
        let mut used = self.used.clone();
        for ((_, position), growth) in more {
            used[position] = used[position].plus(growth);
        }
        self.names.iter().cloned().zip(used).collect()
    }

    /// The status that the quota should have.
    pub fn status(&self) -> Value {
        if hard(&self.quota).next().is_none() {
            return json!({});
        }
        let used: serde_json::Map<String, Value> =
            self.names.iter().zip(&self.used).map(|(name, sum)| (name.clone(), sum.to_string().into())).collect();
        json!({"hard": self.quota["spec"]["hard"], "used": used})
    }
}
