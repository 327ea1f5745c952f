//! The fewest moves that even out a load: first over domains, then over the hosts of each.

use crate::{Domain, Host};

/// A host, its domain, and what stands on it.
#[derive(Debug, Clone)]
pub struct Load<I> {
    pub host: Host,
    pub domain: Domain,
    /// How many items it can take; one that takes none gives up all it has.
    pub room: usize,
    pub items: Vec<I>,
}

/// An item that goes to another host, or to its first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move<I> {
    pub item: I,
    pub from: Option<Host>,
    pub to: Host,
}

/// Spreads what stands on the hosts and what waits as evenly as room allows: domains first, hosts within each next. An
/// item moves only if its host has more than its share. What finds no room stays where it is, or waits on.
pub fn level<I: Clone>(loads: &[Load<I>], waiting: &[I]) -> Vec<Move<I>> {
    let total = loads.iter().map(|load| load.items.len()).sum::<usize>() + waiting.len();
    let mut domains: Vec<Domain> = loads.iter().map(|load| load.domain).collect();
    domains.sort_unstable();
    domains.dedup();
    let members = |domain: Domain| loads.iter().enumerate().filter(move |(_, load)| load.domain == domain);
    let sums: Vec<Share> = domains
        .iter()
        .map(|domain| {
            let (has, room) =
                members(*domain).fold((0, 0), |(has, room), (_, load)| (has + load.items.len(), room + load.room));
            Share { has, room }
        })
        .collect();
    let mut wanted = vec![0; loads.len()];
    for (domain, quota) in domains.iter().zip(quotas(&sums, total)) {
        let hosts: Vec<usize> = members(*domain).map(|(index, _)| index).collect();
        let shares: Vec<Share> =
            hosts.iter().map(|index| Share { has: loads[*index].items.len(), room: loads[*index].room }).collect();
        for (index, quota) in hosts.iter().zip(quotas(&shares, quota)) {
            wanted[*index] = quota;
        }
    }
    let surplus = loads.iter().zip(&wanted).flat_map(|(load, wanted)| {
        let kept = (*wanted).min(load.items.len());
        load.items[kept..].iter().map(|item| (Some(load.host), item))
    });
    let mut moving = waiting.iter().map(|item| (None, item)).chain(surplus);
    let mut moves = Vec::new();
    for (load, wanted) in loads.iter().zip(&wanted) {
        let gaps = wanted.saturating_sub(load.items.len());
        moves.extend(moving.by_ref().take(gaps).map(|(from, item)| Move { item: item.clone(), from, to: load.host }));
    }
    moves
}

#[derive(Debug, Clone, Copy)]
struct Share {
    has: usize,
    room: usize,
}

/// How many each gets so that none has more than it need, and as few as possible change.
fn quotas(shares: &[Share], total: usize) -> Vec<usize> {
    // The highest level that can be filled everywhere, then one more for those who have it already.
    let filled = |level: usize| shares.iter().map(|share| share.room.min(level)).sum::<usize>();
    let (mut low, mut high) = (0, total);
    while low < high {
        let middle = (low + high).div_ceil(2);
        if filled(middle) <= total { low = middle } else { high = middle - 1 }
    }
    let mut quotas: Vec<usize> = shares.iter().map(|share| share.room.min(low)).collect();
    let mut order: Vec<usize> = (0..shares.len()).filter(|index| shares[*index].room > low).collect();
    order.sort_by_key(|index| std::cmp::Reverse(shares[*index].has));
    for index in order.into_iter().take(total - filled(low)) {
        quotas[index] += 1;
    }
    quotas
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(host: Host, domain: Domain, room: usize, items: &[u8]) -> Load<u8> {
        Load { host, domain, room, items: items.to_vec() }
    }

    #[test]
    fn what_is_even_stays() {
        let loads = [load(0, 0, 9, &[1, 2]), load(1, 0, 9, &[3]), load(2, 1, 9, &[4, 5])];
        assert_eq!(level(&loads, &[]), []);
    }

    #[test]
    fn a_host_that_goes_gives_up_only_its_own() {
        let loads = [load(0, 0, 0, &[1, 2]), load(1, 0, 9, &[3]), load(2, 0, 9, &[4])];
        let mut moves = level(&loads, &[]);
        moves.sort_by_key(|one| one.item);
        assert_eq!(moves, [Move { item: 1, from: Some(0), to: 1 }, Move { item: 2, from: Some(0), to: 2 }]);
    }

    #[test]
    fn a_host_that_comes_takes_its_share_and_no_more() {
        let loads = [load(0, 0, 9, &[1, 2, 3]), load(1, 0, 9, &[4, 5, 6]), load(2, 0, 9, &[])];
        assert_eq!(level(&loads, &[]).len(), 2);
    }

    #[test]
    fn domains_come_before_hosts() {
        // One host in the first domain, three in the second: four items are two and two.
        let loads = [load(0, 0, 9, &[]), load(1, 1, 9, &[]), load(2, 1, 9, &[]), load(3, 1, 9, &[])];
        let moves = level(&loads, &[1, 2, 3, 4]);
        assert_eq!(moves.iter().filter(|one| one.to == 0).count(), 2);
        assert_eq!(moves.len(), 4);
    }

    #[test]
    fn what_finds_no_room_waits() {
        assert_eq!(level(&[load(0, 0, 1, &[])], &[1, 2]), [Move { item: 1, from: None, to: 0 }]);
    }
}
