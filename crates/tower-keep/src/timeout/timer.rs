//! Timers of limits: nested limits that one task polls share the timer of the outermost limit.
//!
//! A pending inner limit requests its wake-up in each poll. A dropped limit makes no more requests,
//! so requests need no cancellation. An inner limit uses the outer timer only if it has the same
//! waker: a wake-up then polls both limits.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use tokio::{
    task::coop::unconstrained,
    time::{Instant, Sleep},
};

use super::{
    deadline::Deadline,
    idle::{self, Due},
};
use crate::job::{
    context::{self, Timed, Timing},
    membership::Membership,
};

/// The timer that wakes a limit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wakes {
    /// The limit's own timer, which also serves inner limits.
    Itself,
    /// The timer of an outer limit.
    Around,
    /// The limit's own timer, which serves no inner limit: an idle limit moves, and a grace period
    /// ends the inner work.
    Apart,
}

impl Wakes {
    #[inline(always)]
    pub(super) fn of(deadline: Option<&Deadline>, sleep: Option<&Sleep>, waker: &Waker) -> Self {
        match deadline {
            Some(deadline) if deadline.is_fixed() => match (sleep, context::timed()) {
                (None, Some(around)) if around.wakes(waker) => Self::Around,
                _ => Self::Itself,
            },
            _ => Self::Apart,
        }
    }

    /// Offers this limit's timer to inner limits while the returned guard lives.
    #[inline(always)]
    pub(super) fn timing(self, sleep: Option<&Sleep>, waker: &Waker) -> Option<Timing> {
        let fired = || sleep.is_some_and(Sleep::is_elapsed);
        (self == Self::Itself).then(|| Timing::new(Timed::by(waker, fired())))
    }
}

/// The reason for a wake-up.
pub(super) enum Expired {
    /// The limit or its grace period has expired.
    Limit,
    /// An inner limit requested this time. It may be gone by now.
    Inside,
}

/// Polls a limit that uses the timer of an outer limit.
pub(super) fn poll_around(deadline: &Deadline) -> Poll<Expired> {
    let is_over = deadline.limit().is_zero()
        || context::timed().is_some_and(|around| around.fired) && Instant::now() >= deadline.at;
    if is_over {
        return Poll::Ready(Expired::Limit);
    }
    context::wake_at(deadline.at);
    Poll::Pending
}

/// Polls a limit whose timer serves inner limits too: it fires for the earliest.
#[inline(always)]
pub(super) fn poll_own(
    deadline: &Deadline,
    mut sleep: Pin<&mut Option<Sleep>>,
    inside: Option<Instant>,
    cx: &mut Context<'_>,
) -> Poll<Expired> {
    let at = inside.map_or(deadline.at, |inside| inside.min(deadline.at));
    match sleep.as_mut().as_pin_mut() {
        None if deadline.limit().is_zero() => return Poll::Ready(Expired::Limit),
        None => sleep.set(Some(tokio::time::sleep_until(at))),
        Some(timer) if timer.deadline() < deadline.at && timer.is_elapsed() => timer.reset(at),
        Some(timer) if at < timer.deadline() && !timer.is_elapsed() => timer.reset(at),
        Some(_) => {}
    }
    ready!(poll_sleep(sleep.as_mut(), cx));
    let is_over = (sleep.as_ref().as_pin_ref()).is_none_or(|timer| timer.deadline() >= deadline.at);
    Poll::Ready(if is_over {
        Expired::Limit
    } else {
        Expired::Inside
    })
}

/// Polls the timer of an idle limit or of a grace period.
pub(super) fn poll_apart(
    deadline: &Deadline,
    mut sleep: Pin<&mut Option<Sleep>>,
    membership: &Membership,
    cx: &mut Context<'_>,
) -> Poll<Expired> {
    if sleep.is_none() && !deadline.limit().is_zero() {
        sleep.set(Some(tokio::time::sleep_until(deadline.at)));
    }
    loop {
        ready!(poll_sleep(sleep.as_mut(), cx));
        if deadline.in_grace {
            return Poll::Ready(Expired::Limit);
        }
        let active = membership.with_job(|job| job.last_activity()).flatten();
        // `None` is a wait for the next attempt.
        match idle::due(deadline.limit(), deadline.began(), active, Instant::now()) {
            Due::Now => return Poll::Ready(Expired::Limit),
            Due::Never => return Poll::Pending,
            Due::At(at) => sleep.set(Some(tokio::time::sleep_until(at))),
        }
    }
}

/// `None` is ready at once.
#[inline(always)]
fn poll_sleep(sleep: Pin<&mut Option<Sleep>>, cx: &mut Context<'_>) -> Poll<()> {
    match sleep.as_pin_mut() {
        // An inner future that exhausts the task's budget must not starve its limit.
        Some(sleep) => Pin::new(&mut unconstrained(sleep)).poll(cx),
        None => Poll::Ready(()),
    }
}
