//! Four ways to call the same backend.
//!
//! The clients are users of one process, such as a gateway, that calls the backend for them: its
//! stack is made once, and all clients share its circuit and its budget.

use std::{num::NonZeroU32, time::Duration};

use tower::ServiceBuilder;
use tower_keep::{
    CircuitBreakerLayer, Event, EventKind, LogLayer, Ratio, RetryLayer, TimeoutLayer,
    circuit_breaker::Window,
    retry::{Backoff, RetryBudget},
};

use crate::{
    backend::{Backend, Request},
    books::{Books, Second},
    chance::{self, Thrower},
    clients,
    day::Day,
    failure::Failure,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// One try, and as much patience as the client has.
    OneTry,
    /// Up to three more, at once.
    NaiveRetries,
    /// Up to three more with growing waits by chance, as far as the budget allows.
    Budget,
    /// The same behind a circuit breaker: the documented order.
    Ours,
}

/// For how many calls the budget grants a retry.
pub(crate) const CALLS_PER_RETRY: u32 = 5;

/// Of how many seconds the budget looks at the calls and the retries, by default.
pub(crate) const WINDOW: usize = 10;

/// The limit of an attempt, where there is one.
pub(crate) const ATTEMPT: Duration = Duration::from_secs(5);

/// The limit of a call with all its attempts, where there is one.
const OVERALL: Duration = Duration::from_secs(12);

impl Policy {
    pub(crate) const ALL: [Self; 4] = [Self::OneTry, Self::NaiveRetries, Self::Budget, Self::Ours];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::OneTry => "no policy",
            Self::NaiveRetries => "naive retries",
            Self::Budget => "retry budget",
            Self::Ours => "budget and circuit",
        }
    }

    /// Whether retries are bounded.
    pub(crate) const fn has_budget(self) -> bool {
        matches!(self, Self::Budget | Self::Ours)
    }

    /// A whole day of it.
    pub(crate) async fn live_through(self, day: Day, backend: Backend, books: &Books) {
        match self {
            Self::OneTry => {
                let stack = ServiceBuilder::new()
                    .map_request(count(books, |second| second.first_attempts += 1))
                    .service(backend);
                clients::live_through(day, stack, books).await;
            }
            Self::NaiveRetries => {
                let stack = ServiceBuilder::new()
                    .map_request(count(books, |second| second.first_attempts += 1))
                    .layer(
                        RetryLayer::new()
                            .max_retries(3)
                            .backoff(Backoff::constant(Duration::ZERO)),
                    )
                    .layer(
                        TimeoutLayer::new(ATTEMPT)
                            .per_attempt()
                            .fail_with(Failure::Late),
                    )
                    .service(backend);
                clients::live_through(day, stack, books).await;
            }
            Self::Budget => {
                let stack = ServiceBuilder::new()
                    .layer(LogLayer::to(count_retries(books)))
                    .layer(TimeoutLayer::new(OVERALL).fail_with(Failure::Late))
                    .map_request(count(books, |second| second.first_attempts += 1))
                    .layer(retry(day))
                    .layer(
                        TimeoutLayer::new(ATTEMPT)
                            .per_attempt()
                            .fail_with(Failure::Late),
                    )
                    .service(backend);
                clients::live_through(day, stack, books).await;
            }
            Self::Ours => {
                let stack = ServiceBuilder::new()
                    .layer(LogLayer::to(count_retries(books)))
                    .layer(circuit_breaker(day).fail_with(Failure::Open))
                    .layer(TimeoutLayer::new(OVERALL).fail_with(Failure::Late))
                    .map_request(count(books, |second| second.first_attempts += 1))
                    .layer(retry(day))
                    .layer(
                        TimeoutLayer::new(ATTEMPT)
                            .per_attempt()
                            .fail_with(Failure::Late),
                    )
                    .service(backend);
                clients::live_through(day, stack, books).await;
            }
        }
    }
}

/// Three retries after up to 0.1, 0.2 and 0.4 s, as long as there are no more than a share of the
/// calls.
fn retry(day: Day) -> RetryLayer {
    let share = Ratio::new(1, CALLS_PER_RETRY).expect("it is a share");
    // A floor is for those who call seldom. It would be more than the share of the few probes that
    // an open circuit lets through.
    let budget = RetryBudget::new(share).floor(0);
    RetryLayer::for_clients()
        .budget(budget)
        .seed(chance::seed(day.seed, Thrower::Retry, 0))
}

fn circuit_breaker(day: Day) -> CircuitBreakerLayer {
    const PROBES: NonZeroU32 = NonZeroU32::new(5).unwrap();
    let window = Window::time(Duration::from_secs(20)).expect("it has a length");
    CircuitBreakerLayer::new()
        .named("backend")
        .failure_rate(Ratio::HALF)
        // A call that had to wait for its second attempt is slow, and need not have ended to count.
        .slow_call_rate(Ratio::HALF)
        .slow_call_duration(ATTEMPT)
        .count_in_flight()
        .window(window)
        .cooldown(Duration::from_secs(15))
        .cooldown_jitter(Ratio::FIFTH)
        .half_open_probes(PROBES)
        .half_open_successes(PROBES)
        .ramp(Duration::from_secs(60))
        .seed(chance::seed(day.seed, Thrower::Circuit, 0))
}

/// Counts the requests that come by.
fn count(books: &Books, count: fn(&mut Second)) -> impl Fn(Request) -> Request + Clone + use<> {
    let books = books.clone();
    move |request| {
        books.note(count);
        request
    }
}

/// Counts a retry when it is granted, which is what the budget bounds; it arrives after its wait.
fn count_retries(books: &Books) -> impl Fn(&Event) + Send + Sync + use<> {
    let books = books.clone();
    move |event: &Event| {
        if let EventKind::RetryScheduled { .. } = event.kind {
            books.note(|second| second.retries_granted += 1);
        }
    }
}
