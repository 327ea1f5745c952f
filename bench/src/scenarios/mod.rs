//! What is measured, one file each.

mod creates;
mod definitions;
mod fan_out;
mod get;
mod list;
mod memory;
mod scheduling;
mod start;

use anyhow::Result;
use async_trait::async_trait;

use crate::{cluster::Cluster, figures::Figure};

#[async_trait]
pub trait Scenario: Sync {
    fn name(&self) -> &'static str;

    /// The work, in words.
    fn work(&self) -> &'static str;

    fn figures(&self) -> &'static [Figure];

    /// How often each side is measured; the sides take turns.
    fn rounds(&self) -> usize {
        5
    }

    /// Whether it starts and stops the server itself, and so cannot measure one that is given.
    fn restarts(&self) -> bool {
        false
    }

    /// Whether the peer is a stock scheduler on the same API server.
    fn is_about_scheduling(&self) -> bool {
        false
    }

    /// Brings a server that was started without state to where the rounds begin.
    async fn prepare(&self, cluster: &mut Cluster) -> Result<()>;

    /// Does the work once; a value for each figure, in their order.
    async fn round(&self, cluster: &mut Cluster) -> Result<Vec<f64>>;
}

pub static ALL: [&dyn Scenario; 9] = [
    &list::List,
    &fan_out::FanOut,
    &creates::Creates,
    &get::Get,
    &definitions::Definitions,
    &memory::Memory,
    &scheduling::Scheduling,
    &start::Start,
    &start::Restart,
];
