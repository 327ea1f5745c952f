//! How the actions of one step are under way together.
//!
//! Not here: what an action is.

use futures_util::{StreamExt, stream::FuturesUnordered};

/// Actions that are under way at once, at most. A step starts with one, and each that goes well lets in so many more than
/// itself: a quota that refuses one pod is not asked for five thousand.
const WIDEST: usize = 64;
const MORE: usize = 3;

/// Does all, until one fails: those that are under way then are waited for, and the first failure that is not moot is the
/// result, or else the first. An action takes as long as its commit, and there may be thousands: none waits for another but
/// for its place.
pub async fn all<'a, A, F: Future<Output = Result<(), E>>, E>(
    actions: &'a [A],
    act: impl Fn(&'a A) -> F,
    is_moot: impl Fn(&E) -> bool,
) -> Result<(), E> {
    let (mut rest, mut under_way) = (actions.iter(), FuturesUnordered::new());
    let (mut width, mut result) = (1, Ok(()));
    loop {
        while under_way.len() < width
            && result.is_ok()
            && let Some(action) = rest.next()
        {
            under_way.push(act(action));
        }
        match under_way.next().await {
            None => return result,
            Some(Ok(())) => width = (width + MORE).min(WIDEST),
            Some(Err(failure)) => {
                if result.as_ref().err().is_none_or(|known| is_moot(known) && !is_moot(&failure)) {
                    result = Err(failure);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, time::Duration};

    use tokio::time::{Instant, sleep};

    use super::*;

    const TRIP: Duration = Duration::from_millis(10);

    /// Carries out a hundred actions, of which those fail. Which failure it was, how many were begun, and in how many round trips.
    async fn hundred(failing: &[usize]) -> (Result<(), usize>, usize, u128) {
        let (began, begun) = (Instant::now(), Cell::new(0));
        let actions: Vec<usize> = (0..100).collect();
        let act = |action: &usize| {
            begun.set(begun.get() + 1);
            let result = if failing.contains(action) { Err(*action) } else { Ok(()) };
            async move {
                sleep(TRIP).await;
                result
            }
        };
        let result = all(&actions, act, |failed| failed % 10 == 1).await;
        (result, begun.get(), began.elapsed().as_millis() / TRIP.as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn it_widens_while_all_goes_well_and_stops_at_a_failure() {
        // 1, 4, 16, 64, and the rest.
        assert_eq!(hundred(&[]).await, (Ok(()), 100, 5));
        assert_eq!(hundred(&[0]).await, (Err(0), 1, 1));
        // Two of the second four have let in more, and those are waited for.
        assert_eq!(hundred(&[3, 4]).await, (Err(3), 13, 3));
        // Moot ones stop it too, but count for less.
        assert_eq!(hundred(&[1, 2]).await.0, Err(2));
        assert_eq!(hundred(&[1]).await.0, Err(1));
        let (result, begun, _) = hundred(&[20]).await;
        assert!(result == Err(20) && begun <= 1 + 4 + 16 + 64, "{begun}");
    }
}
