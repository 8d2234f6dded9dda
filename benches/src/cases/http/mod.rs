//! The client pipeline, and what others put around an HTTP client.
//!
//! A request is made in each iteration, as a service consumes it. So a case is compared by what it
//! adds to the inner service alone, which makes the same request.

mod frames;
mod inner;
mod keep;
mod peers;

use std::{
    future::Future,
    hint::black_box,
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Method, header::CONTENT_TYPE};
use http_body_util::Full;
use reqwest::Client;
use tokio::runtime::Runtime;
use tower::Service;

use self::inner::Server;
use super::{Case, Cases};
use crate::drive::Subject;

const URL: &str = "https://api.example.com/users/7";
const JSON: &[u8] =
    br#"{"id":7,"name":"Ada Lovelace","email":"ada@example.com","roles":["admin","author"]}"#;

type HttpRequest = http::Request<Full<Bytes>>;

pub(super) fn add_peers(cases: &mut Cases) {
    peers::add(cases);
    frames::add_peers(cases);
}

pub(super) fn add_keep(cases: &mut Cases) {
    keep::add(cases);
    frames::add_keep(cases);
}

/// What is sent.
#[derive(Clone, Copy)]
enum Payload {
    None,
    /// With PUT, which may be repeated.
    Json,
}

impl Payload {
    const BOTH: [Self; 2] = [Self::None, Self::Json];

    /// The one of the two names.
    fn pick<T>(self, [none, json]: [T; 2]) -> T {
        match self {
            Self::None => none,
            Self::Json => json,
        }
    }

    fn method(self) -> Method {
        self.pick([Method::GET, Method::PUT])
    }
}

/// Makes requests of the crate http, with the headers that a client sets.
fn http_requests() -> impl FnMut() -> HttpRequest + 'static {
    let request = http::Request::get(URL)
        .header("accept", "application/json")
        .header("user-agent", "bench")
        .body(Full::default())
        .expect("a valid request");
    move || request.clone()
}

/// Makes requests of reqwest.
fn reqwest_requests(payload: Payload) -> impl FnMut() -> reqwest::Request + 'static {
    let mut request = Client::new()
        .request(payload.method(), URL)
        .header("accept", "application/json")
        .header("user-agent", "bench");
    if let Payload::Json = payload {
        request = request
            .header(CONTENT_TYPE, "application/json")
            .body(Bytes::from_static(JSON));
    }
    let request = request.build().expect("a valid request");
    move || request.try_clone().expect("its body is in memory")
}

/// Calls of one kind, polled by hand.
struct Calls<C> {
    call: C,
    runtime: Rc<Runtime>,
}

impl<C, F, T, E> Subject for Calls<C>
where
    C: FnMut() -> F,
    F: Future<Output = Result<T, E>>,
{
    fn run(&mut self, count: u64, around: &mut dyn FnMut(&mut dyn FnMut())) {
        let call = &mut self.call;
        let all = std::future::poll_fn(|cx| {
            around(&mut || calls(call, count, cx));
            Poll::Ready(())
        });
        self.runtime.block_on(tokio::task::unconstrained(all));
    }
}

/// As for the cases that have no request to make.
#[inline(never)]
fn calls<C, F, T, E>(call: &mut C, count: u64, cx: &mut Context<'_>)
where
    C: FnMut() -> F,
    F: Future<Output = Result<T, E>>,
{
    for _ in 0..count {
        let mut future = pin!(call());
        black_box(&mut future);
        loop {
            if let Poll::Ready(result) = future.as_mut().poll(cx) {
                assert!(black_box(result).is_ok());
                break;
            }
        }
    }
}

/// Calls that wait for tokio's timer, run by its scheduler.
struct Waits<C> {
    call: C,
    runtime: Rc<Runtime>,
}

impl<C, F, T, E> Subject for Waits<C>
where
    C: FnMut() -> F,
    F: Future<Output = Result<T, E>>,
{
    fn run(&mut self, count: u64, around: &mut dyn FnMut(&mut dyn FnMut())) {
        let (call, runtime) = (&mut self.call, &self.runtime);
        around(&mut || {
            runtime.block_on(tokio::task::unconstrained(async {
                for _ in 0..count {
                    assert!(black_box(call().await).is_ok());
                }
            }));
        });
    }
}

/// `poll_ready` and `call`.
fn call<S: Service<R>, R>(service: &mut S, request: R) -> S::Future {
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert!(matches!(service.poll_ready(&mut cx), Poll::Ready(Ok(()))));
    service.call(black_box(request))
}

/// Calls of a service with requests that `make` makes.
fn service_calls<S, R>(
    mut service: S,
    mut make: impl FnMut() -> R + 'static,
) -> impl FnMut() -> S::Future + 'static
where
    S: Service<R> + 'static,
{
    move || call(&mut service, make())
}

impl Cases {
    /// A case of calls that `make` makes for a server.
    fn add_calls<C, F, T, E>(&mut self, name: &'static str, mut make: impl FnMut(Server) -> C)
    where
        C: FnMut() -> F + 'static,
        F: Future<Output = Result<T, E>> + 'static,
        T: 'static,
        E: 'static,
    {
        let _entered = self.runtime.enter();
        let mut subject = |server| {
            Box::new(Calls {
                call: make(server),
                runtime: Rc::clone(&self.runtime),
            })
        };
        let (ready, pends) = (subject(Server::ready()), subject(Server::pending_once()));
        self.all.push(Case {
            name,
            ours: self.ours,
            is_timed: true,
            ready,
            pends: Some(pends),
            bytes: size_of::<F>(),
        });
    }

    /// A case of calls that fail once, and succeed at the second attempt. Its time is not taken: a
    /// wait of tokio, even of no length, lasts until the next millisecond.
    fn add_retried<C, F, T, E>(&mut self, name: &'static str, make: impl FnOnce(Server) -> C)
    where
        C: FnMut() -> F + 'static,
        F: Future<Output = Result<T, E>> + 'static,
        T: 'static,
        E: 'static,
    {
        let _entered = self.runtime.enter();
        let call = make(Server::failing_first());
        self.all.push(Case {
            name,
            ours: self.ours,
            is_timed: false,
            ready: Box::new(Waits {
                call,
                runtime: Rc::clone(&self.runtime),
            }),
            pends: None,
            bytes: size_of::<F>(),
        });
    }
}
