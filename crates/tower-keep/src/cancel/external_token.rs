//! The user's token, which cancels the layer's jobs or shuts the layer down.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::{event::CancelReason, job::table::Owner};

/// The token, shared by the layer's clones.
pub(super) struct ExternalToken {
    pub(super) token: CancellationToken,
    /// How long the running jobs may continue; `None` if the token cancels them at once.
    within: Option<Duration>,
    /// Set by the first code that notices the fired token; `None` if it overflows the clock.
    deadline: OnceLock<Option<Instant>>,
}

impl ExternalToken {
    pub(super) fn new(token: CancellationToken, within: Option<Duration>) -> Arc<Self> {
        Arc::new(Self {
            token,
            within,
            deadline: OnceLock::new(),
        })
    }

    /// The same token, for other jobs.
    pub(super) fn renewed(&self) -> Arc<Self> {
        Self::new(self.token.clone(), self.within)
    }

    /// How long the running jobs may continue after a shutdown.
    pub(super) fn within(&self) -> Option<Duration> {
        self.within
    }

    pub(super) fn reason(&self) -> CancelReason {
        match self.within {
            None => CancelReason::Requested,
            Some(_) => CancelReason::Shutdown,
        }
    }

    /// Whether the token fired and gives the running jobs no time.
    #[inline]
    pub(super) fn stops_at_once(&self) -> bool {
        self.within.is_none() && self.token.is_cancelled()
    }

    /// Whether the token shuts the layer down, instead of cancelling its jobs.
    pub(super) fn shuts_down(&self) -> bool {
        self.within.is_some()
    }

    /// Shuts the layer down if the token fired and no code has noticed yet.
    pub(super) fn check(&self, registry: &dyn Owner) {
        if self.shuts_down() && self.token.is_cancelled() {
            self.fired(registry);
        }
    }

    /// Handles the fired token: closes the layer on a shutdown, and returns how long running jobs
    /// may continue.
    pub(super) fn fired(&self, registry: &dyn Owner) -> RunUntil {
        if self.shuts_down() {
            registry.close();
        }
        self.until()
    }

    fn until(&self) -> RunUntil {
        let Some(within) = self.within else {
            return RunUntil::Now;
        };
        let deadline = self
            .deadline
            .get_or_init(|| Instant::now().checked_add(within));
        deadline.map_or(RunUntil::Whenever, RunUntil::Then)
    }
}

/// How long the running jobs may continue.
#[derive(Clone, Copy, Debug)]
pub(super) enum RunUntil {
    Now,
    Then(Instant),
    Whenever,
}

pin_project! {
    /// Ready when the token requires a running job to stop.
    pub(super) struct TokenWait {
        external_token: Arc<ExternalToken>,
        // `None` if the layer and its handles are gone.
        registry: Option<Arc<dyn Owner>>,
        #[pin]
        fired: WaitForCancellationFutureOwned,
        until: Option<RunUntil>,
        #[pin]
        sleep: Option<Sleep>,
    }
}

impl TokenWait {
    pub(super) fn new(
        external_token: &Arc<ExternalToken>,
        registry: Option<Arc<dyn Owner>>,
    ) -> Self {
        Self {
            fired: external_token.token.clone().cancelled_owned(),
            external_token: Arc::clone(external_token),
            registry,
            until: None,
            sleep: None,
        }
    }
}

impl Future for TokenWait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let until = match *this.until {
            Some(until) => until,
            None => {
                ready!(this.fired.poll(cx));
                let until = match this.registry {
                    Some(registry) => this.external_token.fired(&**registry),
                    None => this.external_token.until(),
                };
                *this.until.insert(until)
            }
        };
        let deadline = match until {
            RunUntil::Now => return Poll::Ready(()),
            RunUntil::Whenever => return Poll::Pending,
            RunUntil::Then(deadline) => deadline,
        };
        if this.sleep.is_none() {
            this.sleep.set(Some(tokio::time::sleep_until(deadline)));
        }
        match this.sleep.as_pin_mut() {
            // Unconstrained: a busy job must not use up the budget that its own deadline needs.
            Some(sleep) => Pin::new(&mut tokio::task::coop::unconstrained(sleep)).poll(cx),
            None => Poll::Ready(()),
        }
    }
}
