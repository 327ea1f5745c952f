//! Hosts that no rule tells apart stand in one cell, ordered by what each is worth on its own.
//!
//! Rules that look at domains need to be asked once a cell rather than once a host; the best hosts of a cell are at hand.
//! A host that changes is put anew: everything else stays.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
};

use crate::Host;

#[derive(Debug)]
pub struct Cells<K> {
    cells: Vec<Cell<K>>,
    index: HashMap<K, usize>,
    places: Vec<Option<Place>>,
}

#[derive(Debug)]
pub struct Cell<K> {
    pub key: K,
    /// By worth.
    hosts: BTreeMap<i64, Vec<Host>>,
    len: usize,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    cell: u32,
    /// Within the hosts of that worth.
    at: u32,
    worth: i64,
}

impl<K> Default for Cells<K> {
    fn default() -> Self {
        Self { cells: Vec::new(), index: HashMap::new(), places: Vec::new() }
    }
}

impl<K: Hash + Eq + Clone> Cells<K> {
    /// The cells that have hosts.
    pub fn iter(&self) -> impl Iterator<Item = &Cell<K>> {
        self.cells.iter().filter(|cell| cell.len > 0)
    }

    /// How many cells there are, with those that have become empty.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Puts a host into the cell of `key`, or out of all.
    pub fn put(&mut self, host: Host, place: Option<(K, i64)>) {
        self.take(host);
        let Some((key, worth)) = place else { return };
        let cell = match self.index.get(&key) {
            Some(cell) => *cell,
            None => {
                self.index.insert(key.clone(), self.cells.len());
                self.cells.push(Cell { key, hosts: BTreeMap::new(), len: 0 });
                self.cells.len() - 1
            }
        };
        let index = host as usize;
        if self.places.len() <= index {
            self.places.resize(index + 1, None);
        }
        let hosts = self.cells[cell].hosts.entry(worth).or_default();
        self.places[index] = Some(Place { cell: cell as u32, at: hosts.len() as u32, worth });
        hosts.push(host);
        self.cells[cell].len += 1;
    }

    fn take(&mut self, host: Host) {
        let Some(place) = self.places.get_mut(host as usize).and_then(Option::take) else { return };
        let cell = &mut self.cells[place.cell as usize];
        cell.len -= 1;
        let Some(hosts) = cell.hosts.get_mut(&place.worth) else { return };
        hosts.swap_remove(place.at as usize);
        if let Some(moved) = hosts.get(place.at as usize)
            && let Some(known) = &mut self.places[*moved as usize]
        {
            known.at = place.at;
        }
        if hosts.is_empty() {
            cell.hosts.remove(&place.worth);
        }
    }
}

impl<K> Cell<K> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The hosts by worth, the best first.
    pub fn by_worth(&self) -> impl Iterator<Item = (i64, &[Host])> {
        self.hosts.iter().rev().map(|(worth, hosts)| (*worth, hosts.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_found_by_cell_and_worth() {
        let mut cells = Cells::default();
        for host in 0..6 {
            cells.put(host, Some((host % 2, i64::from(host))));
        }
        cells.put(4, Some((0, 0)));
        cells.put(2, None);
        cells.put(1, Some((0, 0)));
        let mut found: Vec<(u32, Vec<(i64, Vec<Host>)>)> = cells
            .iter()
            .map(|cell| (cell.key, cell.by_worth().map(|(worth, hosts)| (worth, hosts.to_vec())).collect()))
            .collect();
        found.sort();
        assert_eq!(found, [(0, vec![(0, vec![0, 4, 1])]), (1, vec![(5, vec![5]), (3, vec![3])])]);
        cells.put(0, None);
        assert_eq!(cells.iter().map(Cell::len).sum::<usize>(), 4);
    }
}
