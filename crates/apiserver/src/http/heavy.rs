//! Work that may keep a processor for long: large bodies, documents and lists that are made anew. It is done aside
//! from the threads that serve everything else, and only a little of it at once.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::ready,
};

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::Semaphore,
    task::block_in_place,
};
use tokio_util::sync::PollSemaphore;

const MAX_AT_ONCE: usize = 4;

/// The turns of heavy work.
#[derive(Debug, Clone)]
pub struct Heavy(Arc<Semaphore>);

impl Default for Heavy {
    fn default() -> Self {
        Self::within(MAX_AT_ONCE)
    }
}

impl Heavy {
    fn within(turns: usize) -> Self {
        Self(Arc::new(Semaphore::new(turns)))
    }

    /// Drives `work`. A turn is held while it computes, not while it waits for something itself.
    pub async fn run<F: Future>(&self, work: F) -> F::Output {
        let mut work = pin!(work);
        let mut turns = PollSemaphore::new(Arc::clone(&self.0));
        poll_fn(|context| {
            let _turn = ready!(turns.poll_acquire(context));
            aside(|| work.as_mut().poll(context))
        })
        .await
    }
}

/// Lets the runtime's other tasks go on with another thread, where it has several.
fn aside<T>(act: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => block_in_place(act),
        _ => act(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::sync::oneshot;

    use super::*;

    /// With one worker thread, the work ends only if another task runs while it computes.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn others_go_on_while_work_is_done() {
        let (tell, told) = mpsc::channel();
        let (begin, begun) = oneshot::channel();
        let work = tokio::spawn(async move {
            let work = async move {
                begin.send(()).unwrap();
                told.recv().unwrap()
            };
            Heavy::default().run(work).await
        });
        let other = tokio::spawn(async move {
            begun.await.unwrap();
            tell.send("on").unwrap();
        });
        other.await.unwrap();
        assert_eq!(work.await.unwrap(), "on");
    }

    #[tokio::test]
    async fn a_turn_is_given_back_while_work_waits() {
        let heavy = Heavy::within(1);
        let (tell, told) = oneshot::channel();
        let waiting = heavy.run(async { told.await.unwrap() });
        let telling = heavy.run(async { tell.send(1).unwrap() });
        assert_eq!(tokio::join!(waiting, telling), (1, ()));
    }
}
