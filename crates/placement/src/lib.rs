//! Where things go: capacity, domains and how things are spread over them, hosts that no rule tells apart, and the fewest
//! moves that even out a load.
//!
//! The words are neutral: an *item* has a *demand* and stands on a *host*; hosts with one value of a label form a
//! *domain*. Everything is incremental: an item that comes or goes costs what it touches, not what there is.
//!
//! Not here: pods, nodes, what a rule is called, time, chance.

pub mod amounts;
pub mod cells;
pub mod moves;
pub mod spread;
pub mod tally;
pub mod topology;

pub use amounts::{Amounts, Capacity, Dimension, Shortage};
pub use cells::Cells;
pub use tally::Tally;
pub use topology::{Domain, Host, Topology};
