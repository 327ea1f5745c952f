//! Group commit: a thread of its own takes whatever has queued up while it was busy with the group before.
//!
//! Handling a group ends in one sync of the disk, so the next group collects meanwhile. The journal's
//! own [`crate::Appender`] is built on it, and so is the store, which decides before it appends.

use std::{io, ops::ControlFlow, thread};

use tokio::sync::mpsc;

#[derive(Debug, Clone, Copy)]
pub struct GroupLimits {
    /// Waiting items past which a sender waits.
    pub queue: usize,
    /// Items in one group.
    pub items: usize,
    /// Sum of weights past which a group takes no further item.
    pub weight: usize,
}

impl Default for GroupLimits {
    fn default() -> Self {
        Self { queue: 1024, items: 1024, weight: 8 << 20 }
    }
}

/// Where items for the groups are handed in. The thread ends when all senders are gone, or when its handler breaks.
#[derive(Debug)]
pub struct Groups<T>(mpsc::Sender<T>);

impl<T> Clone for Groups<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Send + 'static> Groups<T> {
    /// Starts the thread. `handle` is to drain the group it is given; after a break no further group is formed.
    pub fn spawn(
        name: &str,
        limits: GroupLimits,
        weigh: fn(&T) -> usize,
        mut handle: impl FnMut(&mut Vec<T>) -> ControlFlow<()> + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, mut receiver) = mpsc::channel(limits.queue);
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            let mut group = Vec::new();
            while let Some(first) = receiver.blocking_recv() {
                let mut weight = weigh(&first);
                group.push(first);
                while group.len() < limits.items && weight < limits.weight {
                    let Ok(item) = receiver.try_recv() else { break };
                    weight += weigh(&item);
                    group.push(item);
                }
                if handle(&mut group).is_break() {
                    break;
                }
                group.clear();
            }
        })?;
        Ok(Self(sender))
    }

    /// Queues an item, waiting while the queue is full. Gives the item back where the thread has ended.
    pub async fn send(&self, item: T) -> Result<(), T> {
        self.0.send(item).await.map_err(|refused| refused.0)
    }
}
