//! Work that may keep a processor for long: large bodies, documents and lists that are made anew, patterns that are
//! compiled. It is done aside from the threads that serve everything else, and only a little of it at once, of which one
//! user may do half.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::ready,
};

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task::block_in_place,
};
use tokio_util::sync::PollSemaphore;

use super::load::{Places, Shares};

const MAX_AT_ONCE: usize = 4;

tokio::task_local! {
    /// Whose light work this is.
    static LIGHT: (Arc<Heavy>, usize);
}

/// The turns of heavy work.
#[derive(Debug)]
pub struct Heavy {
    turns: Places,
    shares: Shares,
}

impl Default for Heavy {
    fn default() -> Self {
        Self::within(MAX_AT_ONCE)
    }
}

impl Heavy {
    fn within(turns: usize) -> Self {
        Self { turns: Places::new(turns), shares: Shares::default() }
    }

    /// Drives `work`. A turn is held while it computes, not while it waits for something itself.
    pub async fn run<F: Future>(&self, user: &str, work: F) -> F::Output {
        let mut work = pin!(work);
        let mut all = PollSemaphore::new(Arc::clone(&self.turns.all));
        let mut of_share = PollSemaphore::new(Arc::clone(&self.turns.by_share[self.shares.of(user)]));
        // First one of the share's, so that a crowd of one user queues up behind itself.
        let mut own = None;
        poll_fn(|context| {
            if own.is_none() {
                own = ready!(of_share.poll_acquire(context));
            }
            let turn = ready!(all.poll_acquire(context));
            let result = aside(|| work.as_mut().poll(context));
            drop((turn, own.take()));
            result
        })
        .await
    }
}

impl Heavy {
    /// Drives work that is light but for what it does `in_turn`.
    pub async fn beside<F: Future>(self: &Arc<Self>, user: &str, work: F) -> F::Output {
        LIGHT.scope((Arc::clone(self), self.shares.of(user)), work).await
    }
}

/// Computes when it is the turn of whoever's work this is: at once within heavy work, and where nobody waits for the thread
/// but its caller. Not to be called with anything locked.
pub fn in_turn<T>(act: impl FnOnce() -> T) -> T {
    let Ok((heavy, share)) = LIGHT.try_with(Clone::clone) else { return act() };
    match Handle::try_current() {
        Ok(runtime) if runtime.runtime_flavor() == RuntimeFlavor::MultiThread => block_in_place(|| {
            let _turn = runtime.block_on(heavy.turns.turn(share));
            act()
        }),
        _ => act(),
    }
}

/// Lets the runtime's other tasks go on with another thread, where it has several.
pub fn aside<T>(act: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => block_in_place(act),
        _ => act(),
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, task::Poll};

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
            Heavy::default().run("jane", work).await
        });
        let other = tokio::spawn(async move {
            begun.await.unwrap();
            tell.send("on").unwrap();
        });
        other.await.unwrap();
        assert_eq!(work.await.unwrap(), "on");
    }

    /// Light work that computes in turn leaves its thread to others, and no more of it goes on at once than heavy work.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn light_work_waits_for_the_turn_of_what_is_heavy_in_it() {
        let heavy = Arc::new(Heavy::within(1));
        let held = Arc::clone(&heavy.turns.all).acquire_owned().await.unwrap();
        let (begin, begun) = oneshot::channel();
        let light = Arc::clone(&heavy);
        let work = tokio::spawn(async move {
            let work = async {
                begin.send(()).unwrap();
                in_turn(|| 1)
            };
            light.beside("jane", work).await
        });
        begun.await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        assert!(!work.is_finished());
        drop(held);
        assert_eq!(work.await.unwrap(), 1);
        assert_eq!(heavy.run("jane", async { in_turn(|| 2) }).await, 2);
    }

    #[tokio::test]
    async fn a_turn_is_given_back_while_work_waits() {
        let heavy = Heavy::within(1);
        let (tell, told) = oneshot::channel();
        let waiting = heavy.run("jane", async { told.await.unwrap() });
        let telling = heavy.run("jane", async { tell.send(1).unwrap() });
        assert_eq!(tokio::join!(waiting, telling), (1, ()));
    }

    /// While a crowd of one user computes, as far as one thread can show it, a turn is left to another.
    #[tokio::test]
    async fn one_user_leaves_turns_to_the_others() {
        let heavy = Heavy::within(2);
        let other = (1..).map(|number| format!("user-{number}"));
        let other = other.into_iter().find(|user| heavy.shares.of(user) != heavy.shares.of("jane")).unwrap();
        let janes = Arc::clone(&heavy.turns.by_share[heavy.shares.of("jane")]).acquire_owned().await.unwrap();
        let mut crowd = pin!(heavy.run("jane", async { 1 }));
        let is_waiting = poll_fn(|context| Poll::Ready(crowd.as_mut().poll(context).is_pending())).await;
        assert!(is_waiting);
        assert_eq!(heavy.run(&other, async { 2 }).await, 2);
        drop(janes);
        assert_eq!(crowd.await, 1);
    }
}
