//! The timer of a limit. Of nested limits that one task polls, the outermost has a timer, which wakes for those inside.
//!
//! A limit inside asks for it in each poll, as long as it is pending. So nothing has to be taken back: a limit that is
//! dropped asks no more. It does without a timer of its own only where the waker of the limit around was handed down to
//! it: what that wakes polls both.

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

/// Who wakes for a limit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wakes {
    /// Its own timer, and for the limits inside as well.
    Itself,
    /// The timer of the limit around.
    Around,
    /// Its own timer, and for no other: an idle limit moves, and the work inside a grace period is over with it.
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

    /// Lets the limits inside ask for this limit's timer, while this lives.
    #[inline(always)]
    pub(super) fn timing(self, sleep: Option<&Sleep>, waker: &Waker) -> Option<Timing> {
        let fired = || sleep.is_some_and(Sleep::is_elapsed);
        (self == Self::Itself).then(|| Timing::new(Timed::by(waker, fired())))
    }
}

/// Why the wait for a timer is over.
pub(super) enum Expired {
    /// The limit, or the grace period after it, is over.
    Limit,
    /// A limit inside asked for this time, perhaps a limit that is gone.
    Inside,
}

/// The limit around wakes for this one.
pub(super) fn poll_around(deadline: &Deadline) -> Poll<Expired> {
    let is_over = deadline.limit().is_zero()
        || context::timed().is_some_and(|around| around.fired) && Instant::now() >= deadline.at;
    if is_over {
        return Poll::Ready(Expired::Limit);
    }
    context::wake_at(deadline.at);
    Poll::Pending
}

/// The timer goes off for this limit or for one inside, whichever is first.
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

/// The timer is for an idle limit, or for a grace period.
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
        // The limit went by at `at` if nothing happened since the call.
        match idle::due(deadline.limit(), deadline.began(), active, Instant::now()) {
            Due::Now => return Poll::Ready(Expired::Limit),
            Due::Never => return Poll::Pending,
            Due::At(at) => sleep.set(Some(tokio::time::sleep_until(at))),
        }
    }
}

/// No sleep is over at once.
#[inline(always)]
fn poll_sleep(sleep: Pin<&mut Option<Sleep>>, cx: &mut Context<'_>) -> Poll<()> {
    match sleep.as_pin_mut() {
        // An inner future that used up the task's budget must not starve its own limit.
        Some(sleep) => Pin::new(&mut unconstrained(sleep)).poll(cx),
        None => Poll::Ready(()),
    }
}
