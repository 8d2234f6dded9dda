//! The state of a job as flags in one word, and the transitions between states. Pure, except for
//! [`AtomicFlags`].
//!
//! | state | flags | next |
//! |---|---|---|
//! | held by a gate | `Held` | starts after release, or ends |
//! | running | `Started` | backs off, or ends |
//! | waiting for its next attempt | `Started`, `BackingOff` | runs again, or ends |
//! | over | `Ended` | final |
//!
//! Independently, a cancellation has up to three states. Only in the first one can a result end the
//! job normally:
//!
//! | state | flags | next |
//! |---|---|---|
//! | not cancelled | none | is cancelled |
//! | cancelled, others share its execution | `Cancelled`, `Shared` | token fires when the execution is its own, or over |
//! | cancelled, token fired | `Cancelled`, `Fired` | final |
//!
//! The other flags record what happened and which watchers exist: see [`Flag`]. `StartUnobserved`:
//! a later observer does not get `Started`. `Expired`: the end of a shared execution is a timeout.
//! The bits above the flags count the calls that Cancel layers have in hand.
//!
//! A cancellation does not fire the token if others share the execution and this job's caller can
//! return: the caller leaves by itself (`leaves`), or a Cancel layer has its call in hand and
//! returns. In any other case only code that checks the token can stop the caller.
//!
//! # Invariants
//!
//! 1. `Ended`, `Cancelled`, `Fired`, `Started` and `NoRetries` are never cleared.
//! 2. `Decided` is set only while no call is in hand. The last decided call and a cancellation race
//!    for this word: one of the two is too late.
//! 3. A job that was not cancelled before its end is never cancelled, unless its execution
//!    continued for others.
//! 4. `Fired` without `Cancelled`: the job had ended before its shared execution was over.

use crate::{
    event::CancelReason,
    sync::atomic::{AtomicU64, Ordering},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Flag {
    /// The job has an observer.
    Observed,
    /// tracing's sink is registered. It counts as an observer once tracing has a listener.
    Traced,
    /// The job's own waker slot is taken.
    Watched,
    /// A gate holds the call back; it has not started.
    Held,
    /// `Started` was recorded.
    Started,
    /// `Started` was recorded before the job had an observer, so that it is not sent.
    StartUnobserved,
    /// No attempt runs: the job waits for the next one.
    BackingOff,
    /// A Retry layer makes the attempts, and the end of each is an event.
    Attempts,
    /// The end of this attempt was sent, or the attempt did not reach the service.
    AttemptClosed,
    /// The job is over.
    Ended,
    /// The job is cancelled; the reason is set.
    Cancelled,
    /// The token fired: the code inside sees the cancellation.
    Fired,
    /// The execution may outlive this job's caller. The sharing layer fires the token.
    Shared,
    /// Every call in hand of a Cancel layer has its result: too late to cancel, unless another call
    /// follows.
    Decided,
    /// The work runs in its own task, and only that task knows when it started.
    DetachedTasks,
    /// The work was dropped before its own end.
    Dropped,
    /// The overall limit of a shared execution expired: the token fires when the execution is over.
    Expired,
    /// The observers know how the job ended, or there is no observer.
    EndDelivered,
    /// The job may have children to release.
    HasChildren,
    /// A shutdown waits for the job's end.
    Awaited,
    /// An inner retry gave up for the outer retries too.
    NoRetries,
    /// A thread is delivering events.
    Delivering,
    /// The queue has events for the delivering thread.
    Queued,
    /// A board shows the job.
    OnBoard,
    /// The job has details, or more than one board.
    Details,
    /// Change readers get each change.
    Read,
    /// The job is watched.
    Viewed,
}

/// One undecided call in hand of a Cancel layer. The bits above the flags count them.
const CALL: u64 = 1 << 32;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags(u64);

impl Flags {
    #[inline(always)]
    pub(super) fn has(self, flag: Flag) -> bool {
        self.0 & (1 << flag as u8) != 0
    }

    #[inline(always)]
    pub(super) fn with(self, flag: Flag) -> Self {
        Self(self.0 | 1 << flag as u8)
    }

    pub(super) fn without(self, flag: Flag) -> Self {
        Self(self.0 & !(1 << flag as u8))
    }

    // ===== queries =====

    #[inline(always)]
    pub(crate) fn is_over(self) -> bool {
        self.has(Flag::Ended)
    }

    /// Whether the job is cancelled, even if its execution continues for others.
    #[inline(always)]
    pub(crate) fn is_cancelled(self) -> bool {
        self.has(Flag::Cancelled)
    }

    /// Whether the job's token fired.
    #[inline(always)]
    pub(crate) fn has_fired(self) -> bool {
        self.has(Flag::Fired)
    }

    /// Whether the overall limit of a shared execution expired: this job's own caller gets the
    /// limit's error.
    pub(crate) fn is_expired(self) -> bool {
        self.has(Flag::Expired)
    }

    /// Whether several callers share the execution.
    pub(crate) fn is_shared(self) -> bool {
        self.has(Flag::Shared)
    }

    /// Whether nothing of the job runs: a gate holds it, or a leader does its work.
    pub(crate) fn is_held(self) -> bool {
        self.has(Flag::Held)
    }

    /// Whether the job is held while a hook prepares its first attempt.
    pub(super) fn is_prepared(self) -> bool {
        self.is_held() && self.has(Flag::AttemptClosed)
    }

    /// Whether the job waits for its next attempt.
    pub(crate) fn is_backing_off(self) -> bool {
        self.has(Flag::BackingOff)
    }

    /// Whether an attempt of a Retry layer may be running whose end was not sent.
    pub(super) fn has_open_attempt(self) -> bool {
        let closed = [Flag::BackingOff, Flag::Held, Flag::AttemptClosed];
        self.has(Flag::Attempts) && !closed.into_iter().any(|flag| self.has(flag))
    }

    pub(crate) fn retries_forbidden(self) -> bool {
        self.has(Flag::NoRetries)
    }

    /// Whether nothing of the job has run so far.
    pub(crate) fn is_fresh(self) -> bool {
        !self.has(Flag::Started) && !self.has(Flag::Ended)
    }

    /// Whether a Cancel layer has a call of this job in hand, and returns to the caller on
    /// cancellation.
    pub(super) fn is_in_hand(self) -> bool {
        self.0 >= CALL
    }

    /// Whether a Cancel layer stops the job's own work on cancellation.
    pub(crate) fn is_watched(self) -> bool {
        self.is_in_hand() && !self.is_shared()
    }

    /// Whether this job survives a cancellation of its parent for this reason: a detached job does
    /// not need its caller.
    pub(super) fn survives(self, reason: &CancelReason) -> bool {
        *reason == CancelReason::CallerGone && self.has(Flag::DetachedTasks)
    }

    /// Whether work of the job runs, or ran, in a task of its own.
    pub(crate) fn is_detached(self) -> bool {
        self.has(Flag::DetachedTasks)
    }

    /// Whether the job ended because its caller left, and its execution continues for others and
    /// can still be stopped.
    pub(crate) fn works_on(self) -> bool {
        self.is_over() && self.is_shared() && !self.has_fired()
    }

    /// Whether the job is cancelled, and its shared execution was not stopped.
    pub(super) fn leaves_its_execution(self) -> bool {
        self.is_cancelled() && self.is_shared() && !self.has_fired()
    }

    /// Whether the call may have passed every gate just now: it has not started, and nothing holds
    /// it.
    #[inline(always)]
    pub(super) fn may_start(self) -> bool {
        self.is_fresh() && !self.is_held()
    }

    /// Whether the job has details, observers, readers or watches.
    pub(super) fn is_looked_at(self) -> bool {
        let flags = [Flag::Observed, Flag::Details, Flag::Read, Flag::Viewed];
        flags.into_iter().any(|flag| self.has(flag))
    }

    // ===== transitions =====

    /// Cancels the job. `None` if it is too late, or already cancelled. `leaves`: the caller
    /// leaves, so a decided result does not count.
    pub(super) fn cancelled(self, leaves: bool) -> Option<Self> {
        let too_late = self.is_over() || (self.has(Flag::Decided) && !leaves);
        (!too_late && !self.is_cancelled()).then(|| self.with(Flag::Cancelled))
    }

    /// A Cancel layer takes a call in hand.
    fn with_call(self) -> Self {
        Self(self.0 + CALL).without(Flag::Decided)
    }

    /// A call is dropped without a result.
    fn without_call(self) -> Self {
        Self(self.0 - CALL)
    }

    /// A call's result goes to its caller. Without another undecided call, a cancellation is too
    /// late from here on.
    fn decided(self) -> Self {
        let left = self.without_call();
        if left.is_in_hand() {
            left
        } else {
            left.with(Flag::Decided)
        }
    }

    /// The delivering thread is done; `None` if more is queued. `ends`: it has delivered the end.
    pub(super) fn delivered(self, ends: bool) -> Option<Self> {
        let done = self.without(Flag::Delivering);
        let done = if ends {
            done.with(Flag::EndDelivered)
        } else {
            done
        };
        (!self.has(Flag::Queued)).then_some(done)
    }

    /// The delivering thread is done, and the queue is empty.
    pub(super) fn drained(self) -> Self {
        self.without(Flag::Delivering).without(Flag::Queued)
    }

    /// tracing's sink becomes an ordinary observer, unless the job is over.
    pub(super) fn listening(self) -> Self {
        if self.is_over() || self.has(Flag::Observed) {
            return self;
        }
        let observed = self.with(Flag::Observed);
        if self.has(Flag::Started) {
            observed.with(Flag::StartUnobserved)
        } else {
            observed
        }
    }
}

/// The flags of a job, which all threads change.
pub(crate) struct AtomicFlags(AtomicU64);

impl AtomicFlags {
    pub(super) fn new(flag: Option<Flag>) -> Self {
        let flags = flag.map_or_else(Flags::default, |flag| Flags::default().with(flag));
        Self(AtomicU64::new(flags.0))
    }

    #[inline(always)]
    pub(crate) fn load(&self) -> Flags {
        Flags(self.0.load(Ordering::Acquire))
    }

    /// For a decision that another read confirms.
    #[inline(always)]
    pub(super) fn glance(&self) -> Flags {
        Flags(self.0.load(Ordering::Relaxed))
    }

    /// Returns the flags before the change, as all changes do.
    pub(super) fn set(&self, flag: Flag) -> Flags {
        Flags(self.0.fetch_or(1 << flag as u8, Ordering::AcqRel))
    }

    pub(super) fn clear(&self, flag: Flag) -> Flags {
        Flags(self.0.fetch_and(!(1 << flag as u8), Ordering::AcqRel))
    }

    pub(super) fn update(&self, change: impl Fn(Flags) -> Flags) -> Flags {
        self.try_update(|flags| Some(change(flags)))
            .unwrap_or_else(|flags| flags)
    }

    /// `Err` if the change does not apply.
    pub(super) fn try_update(
        &self,
        change: impl Fn(Flags) -> Option<Flags>,
    ) -> Result<Flags, Flags> {
        let (set, fetch) = (Ordering::AcqRel, Ordering::Acquire);
        self.0
            .fetch_update(set, fetch, |flags| {
                change(Flags(flags)).map(|flags| flags.0)
            })
            .map(Flags)
            .map_err(Flags)
    }

    // ===== gates and attempts =====

    /// A gate holds the call before its start.
    pub(crate) fn hold(&self) {
        self.set(Flag::Held);
    }

    /// The call goes no further. Unless another call has started the job, it never starts.
    pub(crate) fn hold_back(&self) {
        if !self.load().has(Flag::Started) {
            self.hold();
        }
    }

    /// The gate let the call through.
    pub(super) fn release(&self) {
        self.clear(Flag::Held);
    }

    /// The work was dropped before its own end.
    pub(crate) fn set_dropped(&self) {
        self.set(Flag::Dropped);
    }

    // ===== calls in hand =====

    /// A Cancel layer takes a call of this job in hand, until [`decide`](Self::decide) or
    /// [`let_call_go`](Self::let_call_go). `watches`: it also takes the job's own waker slot, if
    /// the returned flags show it free.
    #[inline(always)]
    pub(crate) fn take_call(&self, watches: bool) -> Flags {
        self.update(|flags| match watches {
            true => flags.with_call().with(Flag::Watched),
            false => flags.with_call(),
        })
    }

    /// The call's result goes to the caller, unless the job was cancelled (`false`).
    pub(crate) fn decide(&self) -> bool {
        !self.update(Flags::decided).is_cancelled()
    }

    /// Like [`decide`](Self::decide), and frees the waker slot.
    #[inline(always)]
    pub(super) fn decide_and_leave(&self) -> bool {
        let before = self.update(|flags| flags.decided().without(Flag::Watched));
        !before.is_cancelled()
    }

    /// The call is dropped without a result.
    pub(crate) fn let_call_go(&self) {
        self.update(Flags::without_call);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The state of a job as plain fields.
    #[derive(Debug, Default)]
    struct Naive {
        started: bool,
        held: bool,
        over: bool,
        cancelled: bool,
        decided: bool,
        calls: u32,
        observed: bool,
        start_unobserved: bool,
    }

    #[derive(Clone, Copy, Debug)]
    enum Move {
        Hold,
        HoldBack,
        Release,
        Start,
        TakeCall,
        Decide,
        LetCallGo,
        Cancel { leaves: bool },
        End,
        Listen,
    }

    fn moves() -> impl Strategy<Value = Move> {
        prop_oneof![
            Just(Move::Hold),
            Just(Move::HoldBack),
            Just(Move::Release),
            Just(Move::Start),
            Just(Move::TakeCall),
            Just(Move::Decide),
            Just(Move::LetCallGo),
            any::<bool>().prop_map(|leaves| Move::Cancel { leaves }),
            Just(Move::End),
            Just(Move::Listen),
        ]
    }

    impl Naive {
        /// Whether a cancellation or decision succeeded, if the transition is one.
        fn go(&mut self, to: Move) -> Option<bool> {
            match to {
                Move::Hold => self.held = true,
                Move::HoldBack => self.held |= !self.started,
                Move::Release => self.held = false,
                Move::Start => self.started |= !self.held && !self.over,
                Move::TakeCall => {
                    self.calls += 1;
                    self.decided = false;
                }
                Move::Decide if self.calls > 0 => {
                    self.calls -= 1;
                    self.decided |= self.calls == 0;
                    return Some(!self.cancelled);
                }
                Move::LetCallGo if self.calls > 0 => self.calls -= 1,
                Move::Decide | Move::LetCallGo => {}
                Move::Cancel { leaves } => {
                    let in_time = !self.over && (leaves || !self.decided) && !self.cancelled;
                    self.cancelled |= in_time;
                    return Some(in_time);
                }
                Move::End => self.over = true,
                Move::Listen if !self.over && !self.observed => {
                    self.observed = true;
                    self.start_unobserved = self.started;
                }
                Move::Listen => {}
            }
            None
        }

        fn legal(&self) {
            assert!(!self.decided || self.calls == 0);
        }
    }

    fn go(flags: &AtomicFlags, to: Move) -> Option<bool> {
        match to {
            Move::Hold => flags.hold(),
            Move::HoldBack => flags.hold_back(),
            Move::Release => flags.release(),
            Move::Start if flags.load().may_start() => drop(flags.set(Flag::Started)),
            Move::Start => {}
            Move::TakeCall => drop(flags.take_call(false)),
            Move::Decide if flags.load().is_in_hand() => return Some(flags.decide()),
            Move::LetCallGo if flags.load().is_in_hand() => flags.let_call_go(),
            Move::Decide | Move::LetCallGo => {}
            Move::Cancel { leaves } => {
                return Some(flags.try_update(|flags| flags.cancelled(leaves)).is_ok());
            }
            Move::End => drop(flags.set(Flag::Ended)),
            Move::Listen => drop(flags.update(Flags::listening)),
        }
        None
    }

    proptest! {
        #[test]
        fn the_word_does_as_its_model(moves in prop::collection::vec(moves(), 0..60)) {
            let (flags, mut naive) = (AtomicFlags::new(None), Naive::default());
            for to in moves {
                prop_assert_eq!(go(&flags, to), naive.go(to), "{:?}", to);
                naive.legal();
                let now = flags.load();
                prop_assert_eq!(now.has(Flag::Started), naive.started);
                prop_assert_eq!(now.is_held(), naive.held);
                prop_assert_eq!(now.is_over(), naive.over);
                prop_assert_eq!(now.is_cancelled(), naive.cancelled);
                prop_assert_eq!(now.has(Flag::Decided), naive.decided);
                prop_assert_eq!(now.is_in_hand(), naive.calls > 0);
                prop_assert_eq!(now.has(Flag::Observed), naive.observed);
                prop_assert_eq!(now.has(Flag::StartUnobserved), naive.start_unobserved);
                prop_assert_eq!(now.is_fresh(), !naive.started && !naive.over);
            }
        }
    }

    /// The table of cancellations: which states stop the job's work, and which leave it to others.
    #[test]
    fn what_a_cancellation_reaches() {
        let shared = Flags::default().with(Flag::Shared);
        let cancelled = shared.cancelled(true).unwrap();
        assert!(cancelled.leaves_its_execution() && !cancelled.has_fired());
        assert_eq!(cancelled.cancelled(true), None);
        let fired = cancelled.with(Flag::Fired);
        assert!(!fired.leaves_its_execution());
        let over = shared.with(Flag::Ended);
        assert!(over.works_on());
        assert_eq!(over.cancelled(true), None);
        assert!(!over.with(Flag::Fired).works_on());
        assert!(!over.without(Flag::Shared).works_on());
    }
}
