//! A stack of layers, written as a word, and the handles to all its layers.
//!
//! | letter | layer | | letter | layer |
//! |---|---|---|---|---|
//! | `N` | JobLayer | | `M` | Dedup, where callers join |
//! | `L` | Log, to the recorder | | `B` | CircuitBreaker |
//! | `P` | Progress | | `T` | Timeout, overall, 60 s |
//! | `C` | Cancel | | `R` | Retry, twice, after 1 and 2 s |
//! | `c` | Cancel, detached | | `A` | Timeout of an attempt, 10 s |
//! | `D` | Dedup, by the request | | `G` | as `T`, with 5 s of grace |
//! | `I` | Timeout, idle, 60 s | | `g` | as `A`, with 5 s of grace |
//! | `i` | Timeout of an attempt, idle, 10 s | | `K` | CircuitBreaker, by the request |
//! | `E` | Dedup, where the latest replaces | | `Q` | CircuitBreaker, with backpressure |
//! | `W` | Dedup, where callers wait for the running call | | `H` | as `R`, with a hook before each attempt, async |
//! | `h` | as `R`, with a hook before each attempt | | | |
//!
//! Layers of tower's own: `l` ConcurrencyLimit, `t` Timeout, `s` LoadShed, `m` MapRequest, `r`
//! Retry, once and at once.
//!
//! The outermost comes first. `!` behind a letter makes the layer fail with [`AppError`], `?`
//! answer with a response. `*` behind `M` makes the layer keep results, for no time at all; behind
//! `W`, wait for [`QUIET`] first. Every layer is boxed, unless the word begins with `=`.

use std::{
    fmt,
    future::{Ready, ready},
    time::Duration,
};

use tower::{
    Layer, ServiceBuilder, ServiceExt, limit::GlobalConcurrencyLimitLayer,
    load_shed::LoadShedLayer, util::BoxCloneSyncService,
};
use tower_keep::{
    BoxError, CancelLayer, CircuitBreakerLayer, DedupLayer, JobLayer, LogLayer, ProgressLayer,
    RetryLayer, TimeoutLayer, cancel::CancelHandle, circuit_breaker::CircuitBreakerHandle,
    retry::Attempt,
};
use tower_keep_test::{Recorder, secs};
use tower_keep_tests::running_ids;

use crate::reasons::{AppError, Why, response};
use crate::run::assert_no_job;

/// What every stack comes to.
pub(crate) type Service = BoxCloneSyncService<u32, u32, BoxError>;

/// The services that stacks go around.
pub(crate) trait Inner:
    tower::Service<u32, Response = u32, Error = &'static str, Future: Send + 'static>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> Inner for S where
    S: tower::Service<u32, Response = u32, Error = &'static str, Future: Send + 'static>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// What `W*` waits for.
pub(crate) const QUIET: Duration = secs(1);

/// Of the limits that give one.
pub(crate) const GRACE: Duration = secs(5);

type ByRequestFn = fn(&u32) -> Option<u32>;

fn change(request: &mut u32, attempt: &Attempt<'_>) {
    // As it came, before every attempt.
    *request += attempt.number();
    *request -= attempt.number();
}

fn by_request(request: &u32) -> Option<u32> {
    Some(*request)
}

/// Tries again once.
#[derive(Clone, Debug)]
struct Once(u32);

impl tower::retry::Policy<u32, u32, BoxError> for Once {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut u32, result: &mut Result<u32, BoxError>) -> Option<Ready<()>> {
        (result.is_err() && std::mem::take(&mut self.0) > 0).then(|| ready(()))
    }

    fn clone_request(&mut self, request: &u32) -> Option<u32> {
        Some(*request)
    }
}

/// The documented order without boxes.
macro_rules! documented {
    ($stack:expr, $dedup:expr, $inner:expr) => {{
        let service = ServiceBuilder::new()
            .layer($stack.log.clone())
            .layer($stack.progress.clone())
            .layer($stack.plain.cancel.clone())
            .layer($dedup)
            .layer($stack.plain.breaker.clone())
            .layer($stack.timeout.clone())
            .layer($stack.retry.clone())
            .layer($stack.attempt.clone())
            .service($inner);
        boxed(service)
    }};
}

/// Its reverse.
macro_rules! reverse {
    ($stack:expr, $dedup:expr, $inner:expr) => {{
        let service = ServiceBuilder::new()
            .layer($stack.attempt.clone())
            .layer($stack.retry.clone())
            .layer($stack.timeout.clone())
            .layer($stack.plain.breaker.clone())
            .layer($dedup)
            .layer($stack.plain.cancel.clone())
            .layer($stack.progress.clone())
            .layer($stack.log.clone())
            .service($inner);
        boxed(service)
    }};
}

/// Puts a layer around a service.
type Wrap = Box<dyn Fn(Service) -> Service + Send + Sync>;

/// A configured layer, and the handles that its state is seen by.
struct Configured<H> {
    wrap: Wrap,
    handles: H,
}

/// The handle of a layer.
pub(crate) struct Handled<H>(Configured<H>);

impl<H: Clone> Handled<H> {
    pub(crate) fn handle(&self) -> H {
        self.0.handles.clone()
    }
}

/// Composes a stack without boxes between its layers.
type Unboxed = Box<dyn Fn(&Stack, Service) -> Option<Service> + Send + Sync>;

/// A Dedup layer: what tells its keys, and the stacks without boxes that have it.
pub(crate) struct Keyed(Configured<Box<dyn Fn() -> usize + Send + Sync>>, Unboxed);

impl Keyed {
    /// How many keys are in flight.
    pub(crate) fn in_flight(&self) -> usize {
        (self.0.handles)()
    }
}

/// A stack's layers, whichever of them it uses. Each is configured as the word says before it is
/// used: a setter would give another layer.
pub(crate) struct Stack {
    word: String,
    pub(crate) recorder: Recorder,
    log: LogLayer,
    pub(crate) progress: ProgressLayer,
    pub(crate) cancel: Handled<CancelHandle>,
    pub(crate) dedup: Keyed,
    pub(crate) breaker: Handled<CircuitBreakerHandle>,
    by_key: Configured<()>,
    timeout: TimeoutLayer,
    pub(crate) retry: RetryLayer,
    attempt: TimeoutLayer,
    idle: [TimeoutLayer; 2],
    plain: Plain,
}

/// The layers before a word says how they stop a call, for stacks without boxes. Where it does not
/// say, the stack has these.
struct Plain {
    cancel: CancelLayer,
    breaker: CircuitBreakerLayer,
}

impl Plain {
    fn new() -> Self {
        Self {
            cancel: CancelLayer::new(),
            breaker: CircuitBreakerLayer::new(),
        }
    }
}

/// Configures a layer that can stop a call: how it does is the last setter.
macro_rules! stopping {
    ($mode:expr, $layer:expr, $why:expr, |$made:ident| $handles:expr) => {
        match $mode {
            '!' => {
                let $made = $layer.fail_with(|_| AppError::Stopped($why));
                let handles = $handles;
                let wrap: Wrap = Box::new(move |inner| boxed($made.layer(own_error(inner))));
                Configured { wrap, handles }
            }
            '?' => {
                let $made = $layer.respond_with(|_| response($why));
                let handles = $handles;
                let wrap: Wrap = Box::new(move |inner| boxed($made.layer(own_error(inner))));
                Configured { wrap, handles }
            }
            _ => stopping!($layer, |$made| $handles),
        }
    };
    ($layer:expr, |$made:ident| $handles:expr) => {{
        let $made = $layer;
        let handles = $handles;
        let wrap: Wrap = Box::new(move |inner| boxed($made.layer(inner)));
        Configured { wrap, handles }
    }};
}

fn cancel(plain: &Plain, (letter, mode): (char, char)) -> Handled<CancelHandle> {
    let layer = plain.cancel.clone();
    Handled(match letter {
        'c' => stopping!(mode, layer.detached(), Why::Cancelled, |layer| layer
            .handle()),
        _ => stopping!(mode, layer, Why::Cancelled, |layer| layer.handle()),
    })
}

fn breaker(plain: &Plain, (letter, mode): (char, char)) -> Handled<CircuitBreakerHandle> {
    let layer = plain.breaker.clone();
    Handled(match letter {
        'Q' => stopping!(mode, layer.backpressure(), Why::Open, |layer| layer
            .handle()),
        _ => stopping!(mode, layer, Why::Open, |layer| layer.handle()),
    })
}

fn dedup((letter, mode): (char, char)) -> Keyed {
    let layer = DedupLayer::new(by_request as ByRequestFn);
    macro_rules! keyed {
        ($layer:expr) => {{
            let layer = $layer;
            let unboxed = layer.clone();
            let unboxed: Unboxed = Box::new(move |stack, inner| {
                let dedup = unboxed.clone();
                match stack.word.replace(['D', 'M', 'E', 'W'], "D").as_str() {
                    "=LPCDBTRA" => Some(documented!(stack, dedup, inner)),
                    "=ARTBDCPL" => Some(reverse!(stack, dedup, inner)),
                    _ => None,
                }
            });
            let configured = stopping!(mode, layer, Why::Duplicate, |layer| {
                let keys = layer.clone();
                Box::new(move || keys.in_flight()) as Box<dyn Fn() -> usize + Send + Sync>
            });
            Keyed(configured, unboxed)
        }};
    }
    match (letter, mode) {
        ('M', '*') => keyed!(layer.join().cache(Duration::ZERO)),
        ('M', _) => keyed!(layer.join()),
        ('E', _) => keyed!(layer.latest()),
        ('W', '*') => keyed!(layer.debounce(QUIET)),
        ('W', _) => keyed!(layer.debounce(Duration::ZERO)),
        _ => keyed!(layer),
    }
}

impl Stack {
    pub(crate) fn new(word: &str) -> Self {
        let recorder = Recorder::new();
        let plain = Plain::new();
        // The first of these letters, and how it is to stop a call.
        let kind = |letters: &str| {
            let mut found = word.chars().skip_while(|letter| !letters.contains(*letter));
            (found.next().unwrap_or(' '), found.next().unwrap_or(' '))
        };
        Self {
            word: word.to_owned(),
            log: LogLayer::to(recorder.clone()),
            recorder,
            progress: ProgressLayer::new(),
            cancel: cancel(&plain, kind("Cc")),
            dedup: dedup(kind("DMEW")),
            breaker: breaker(&plain, kind("BQ")),
            by_key: stopping!(
                kind("K").1,
                CircuitBreakerLayer::new().per_key(|request: &u32| *request),
                Why::Open,
                |layer| drop(layer.handle())
            ),
            timeout: TimeoutLayer::new(secs(60)),
            retry: RetryLayer::new().max_retries(2),
            attempt: TimeoutLayer::new(secs(10)).per_attempt(),
            idle: [
                TimeoutLayer::new(secs(60)).idle(),
                TimeoutLayer::new(secs(10)).per_attempt().idle(),
            ],
            plain,
        }
    }

    /// The same stack with new layers.
    pub(crate) fn fresh(&self) -> Self {
        Self::new(&self.word)
    }

    fn place(&self, letter: char) -> Option<usize> {
        self.word.find(letter)
    }

    /// Whether one of these layers is in the stack.
    pub(crate) fn has(&self, letters: &str) -> bool {
        letters.chars().any(|letter| self.place(letter).is_some())
    }

    /// Whether one of the first layers stands outside one of the second.
    pub(crate) fn outside(&self, first: &str, second: &str) -> bool {
        let places = |letters: &str| -> Vec<usize> {
            letters
                .chars()
                .filter_map(|letter| self.place(letter))
                .collect()
        };
        match (
            places(first).into_iter().min(),
            places(second).into_iter().max(),
        ) {
            (Some(first), Some(second)) => first < second,
            _ => false,
        }
    }

    /// Those of these layers whose limit ends the execution: not those of a caller that may leave
    /// it to others, nor of an attempt that may leave it to itself.
    pub(crate) fn ending(&self, letters: &str) -> String {
        let inside = |outer: char, letter: char| {
            self.place(outer)
                .is_none_or(|outer| self.place(letter) > Some(outer))
        };
        letters
            .chars()
            .filter(|letter| self.place(*letter).is_some() && inside('M', *letter))
            .filter(|letter| !"Ag".contains(*letter) || inside('c', *letter))
            .collect()
    }

    /// Whether callers join outside the log, so that it sees none but the job of the execution.
    pub(crate) fn joins_unseen(&self) -> bool {
        self.outside("M", "L")
    }

    /// Whether callers join outside everything that tracks a job, so that the execution has one of
    /// its own.
    pub(crate) fn executes_apart(&self) -> bool {
        self.joins_unseen() && !self.outside("PCcNIiGg", "M")
    }

    /// Puts the stack around a service. All services that it makes share what the layers share.
    pub(crate) fn around(&self, inner: impl Inner) -> Service {
        match self.word.strip_prefix('=') {
            Some(word) => match (self.dedup.1)(self, boxed(inner)) {
                Some(service) => service,
                None => panic!("{word} is not composed without boxes"),
            },
            None => {
                let mut service = boxed(inner);
                let mut mode = ' ';
                for letter in self.word.chars().rev() {
                    match letter {
                        '!' | '?' | '*' => mode = letter,
                        letter => {
                            service = self.wrap(letter, mode, service);
                            mode = ' ';
                        }
                    }
                }
                service
            }
        }
    }

    fn wrap(&self, letter: char, mode: char, inner: Service) -> Service {
        macro_rules! limiting {
            ($layer:expr, $why:expr) => {
                match mode {
                    '!' => boxed(
                        $layer
                            .fail_with(|_| AppError::Stopped($why))
                            .layer(own_error(inner)),
                    ),
                    '?' => boxed(
                        $layer
                            .respond_with(|_| response($why))
                            .layer(own_error(inner)),
                    ),
                    _ => boxed($layer.layer(inner)),
                }
            };
        }
        match letter {
            'N' => boxed(JobLayer::new("named").layer(inner)),
            'L' => boxed(self.log.layer(inner)),
            'P' => boxed(self.progress.layer(inner)),
            'C' | 'c' => (self.cancel.0.wrap)(inner),
            'D' | 'M' | 'E' | 'W' => (self.dedup.0.wrap)(inner),
            'B' | 'Q' => (self.breaker.0.wrap)(inner),
            'K' => (self.by_key.wrap)(inner),
            'T' => limiting!(self.timeout.clone(), Why::TimedOut),
            'R' => boxed(self.retry.layer(inner)),
            'H' => {
                let prepare = |request: u32, _: &Attempt<'_>| ready(Ok::<_, BoxError>(request));
                boxed(
                    self.retry
                        .clone()
                        .before_attempt_async(prepare)
                        .layer(inner),
                )
            }
            'h' => boxed(self.retry.clone().before_attempt(change).layer(inner)),
            'A' => limiting!(self.attempt.clone(), Why::TimedOut),
            'I' => limiting!(self.idle[0].clone(), Why::TimedOut),
            'i' => limiting!(self.idle[1].clone(), Why::TimedOut),
            'G' => limiting!(self.timeout.clone().grace(GRACE), Why::TimedOut),
            'g' => limiting!(self.attempt.clone().grace(GRACE), Why::TimedOut),
            'l' => boxed(GlobalConcurrencyLimitLayer::new(8).layer(inner)),
            't' => boxed(tower::timeout::TimeoutLayer::new(secs(1000)).layer(inner)),
            's' => boxed(LoadShedLayer::new().layer(inner)),
            'm' => boxed(inner.map_request(|request: u32| request)),
            'r' => boxed(tower::retry::RetryLayer::new(Once(1)).layer(inner)),
            other => panic!("no layer has the letter {other}"),
        }
    }

    /// Asserts that the layers hold nothing of a call that is over: no key, no job, no failure
    /// counted.
    #[track_caller]
    pub(crate) fn assert_idle(&self) {
        assert_eq!(self.dedup.in_flight(), 0, "keys are held");
        assert_eq!(
            running_ids(&self.cancel.handle()),
            [],
            "jobs can be cancelled"
        );
        let shown = self.progress.handle().jobs();
        assert!(shown.is_empty(), "jobs are shown: {shown:?}");
        assert_no_job();
    }

    /// Asserts that this many jobs were recorded, each with one beginning and one ending.
    #[track_caller]
    pub(crate) fn assert_jobs(&self, count: usize) {
        let recorder = &self.recorder;
        assert_eq!(recorder.jobs().len(), count, "jobs\n{recorder}");
        if count > 0 {
            recorder.assert_one_terminal_each();
        }
    }
}

fn boxed<S>(service: S) -> Service
where
    S: tower::Service<u32, Response = u32, Error: Into<BoxError>, Future: Send + 'static>
        + Clone
        + Send
        + Sync
        + 'static,
{
    BoxCloneSyncService::new(service.map_err(Into::into))
}

fn own_error(
    service: Service,
) -> impl tower::Service<u32, Response = u32, Error = AppError, Future: Send> + Clone + Send + Sync
{
    service.map_err(AppError::from)
}

impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.word)
    }
}
