//! Wakes the watchers of a topic, in the order in which they came: under one thread and one clock every run is the same.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Poll, Waker},
};

use parking_lot::Mutex;

/// Rings for all its listeners at once.
#[derive(Debug, Default)]
pub(crate) struct Bell(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    rings: AtomicU64,
    waiting: Mutex<Waiting>,
}

/// A place for each listener, which holds its waker while it waits.
#[derive(Debug, Default)]
struct Waiting {
    places: Vec<Option<Waker>>,
    free: Vec<usize>,
}

/// Hears every ring since it last listened, as one.
#[derive(Debug)]
pub(crate) struct Listener {
    shared: Arc<Shared>,
    place: usize,
    heard: u64,
}

impl Bell {
    pub fn ring(&self) {
        let wakers: Vec<Waker> = {
            let mut waiting = self.0.waiting.lock();
            self.0.rings.fetch_add(1, Ordering::Release);
            waiting.places.iter_mut().filter_map(Option::take).collect()
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    pub fn listener(&self) -> Listener {
        let mut waiting = self.0.waiting.lock();
        let place = waiting.free.pop().unwrap_or_else(|| {
            waiting.places.push(None);
            waiting.places.len() - 1
        });
        Listener { shared: Arc::clone(&self.0), place, heard: self.0.rings.load(Ordering::Acquire) }
    }

    pub fn listeners(&self) -> usize {
        let waiting = self.0.waiting.lock();
        waiting.places.len() - waiting.free.len()
    }
}

impl Listener {
    /// What has rung so far is known.
    pub fn listen(&mut self) {
        self.heard = self.shared.rings.load(Ordering::Acquire);
    }

    /// Returns once the bell has rung since [`Listener::listen`].
    pub async fn rung(&mut self) {
        poll_fn(|context| {
            let mut waiting = self.shared.waiting.lock();
            // Read under the lock under which it is raised: no ring falls between this look and the wait.
            if self.shared.rings.load(Ordering::Acquire) != self.heard {
                return Poll::Ready(());
            }
            match &mut waiting.places[self.place] {
                Some(waker) => waker.clone_from(context.waker()),
                place => *place = Some(context.waker().clone()),
            }
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut waiting = self.shared.waiting.lock();
        waiting.places[self.place] = None;
        waiting.free.push(self.place);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Context;

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_ring_is_heard_once_by_each_and_by_none_that_came_later() {
        let bell = Bell::default();
        let (mut first, mut second) = (bell.listener(), bell.listener());
        assert!(first.rung().now_or_never().is_none());
        bell.ring();
        bell.ring();
        let mut late = bell.listener();
        assert!(first.rung().now_or_never().is_some() && second.rung().now_or_never().is_some());
        assert!(late.rung().now_or_never().is_none());
        first.listen();
        assert!(first.rung().now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_listener_that_waits_is_woken_and_its_place_is_used_again() {
        let bell = Bell::default();
        let mut listener = bell.listener();
        let mut waiting = Box::pin(async move { listener.rung().await });
        let mut context = Context::from_waker(Waker::noop());
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        bell.ring();
        assert!(waiting.as_mut().poll(&mut context).is_ready());
        assert_eq!(bell.listeners(), 0, "the future and its listener are over");
        let (_a, _b) = (bell.listener(), bell.listener());
        assert_eq!((bell.listeners(), bell.0.waiting.lock().places.len()), (2, 2));
    }
}
