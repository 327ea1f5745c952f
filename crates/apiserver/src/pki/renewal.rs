//! When a certificate is due: with a third of its life left.

use jiff::Timestamp;

/// The moment from which a certificate should be replaced.
pub fn due_at(not_before: Timestamp, not_after: Timestamp) -> Timestamp {
    let life = not_after.as_second().saturating_sub(not_before.as_second()).max(0);
    Timestamp::from_second(not_after.as_second().saturating_sub(life / 3)).unwrap_or(not_after)
}

/// Whether it should be replaced now. One that is not valid yet (the clock was set back) is due as well.
pub fn is_due((not_before, not_after): (Timestamp, Timestamp), now: Timestamp) -> bool {
    now < not_before || now >= due_at(not_before, not_after)
}
