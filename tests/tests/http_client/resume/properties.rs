//! Whatever the server does, the reader gets the content or an error, and never other bytes.

use std::{
    collections::VecDeque,
    io, iter,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use proptest::prelude::*;
use tower::{Layer, Service, ServiceExt};
use tower_keep::{
    BoxError, ResumeLayer, RetryLayer, TimeoutLayer, find, http::resume::NotResumed,
    retry::RetryBudget,
};
use tower_keep_test::secs;

use super::{Answer, CUT, Download, End, get, read};

/// What the server does with a request.
#[derive(Clone, Debug)]
enum Act {
    /// Answers, and the body ends in this way after this share of its bytes, in parts of 256.
    Serves(End, u8),
    /// Sends only a part of the range: this share of it.
    Shorter(u8),
    Busy,
    Refuses,
    NotFound,
    Unsatisfiable,
    /// The content is another one from now on, with another validator.
    /// It may answer without a look at `If-Range`.
    Changes(bool),
    /// The content is another one of the same length, and no validator says so. It answers without
    /// a look at `If-Range`.
    ChangesInSilence,
    /// From now on the entity tag is weak, or there is none.
    Weakens(bool),
    IgnoresRange,
    /// The range begins earlier or later, with the bytes of that range.
    Shifts(i8),
    /// Labels an encoded body.
    Encodes,
    Multipart,
    /// Sends more bytes than the range has.
    Overflows(u8),
}

fn act() -> impl Strategy<Value = Act> {
    let end = prop_oneof![
        6 => Just(CUT),
        1 => Just(End::Done),
        1 => Just(End::Stalls),
        1 => Just(End::Error(io::ErrorKind::ConnectionReset)),
    ];
    prop_oneof![
        12 => (end, any::<u8>()).prop_map(|(end, share)| Act::Serves(end, share)),
        2 => any::<u8>().prop_map(Act::Shorter),
        2 => Just(Act::Busy),
        1 => Just(Act::Refuses),
        1 => Just(Act::NotFound),
        1 => Just(Act::Unsatisfiable),
        1 => any::<bool>().prop_map(Act::Changes),
        1 => Just(Act::ChangesInSilence),
        1 => any::<bool>().prop_map(Act::Weakens),
        1 => Just(Act::IgnoresRange),
        1 => any::<i8>().prop_map(Act::Shifts),
        1 => Just(Act::Encodes),
        1 => Just(Act::Multipart),
        1 => any::<u8>().prop_map(Act::Overflows),
    ]
}

/// A server of one representation. After the script, it serves.
#[derive(Debug)]
struct State {
    content: Vec<u8>,
    version: u32,
    tag: Option<String>,
    is_exact: bool,
    script: VecDeque<Act>,
    /// The first answer with content: its number, its bytes if it does what its head says, and what
    /// it does.
    promised: Option<(usize, Vec<u8>, Act)>,
    requests: usize,
}

impl State {
    fn answer(&mut self, request: &Request<String>) -> Result<Answer, BoxError> {
        self.requests += 1;
        let act = self
            .script
            .pop_front()
            .unwrap_or(Act::Serves(End::Done, 255));
        match &act {
            Act::Busy => return Ok(Answer::status(503).header("retry-after", 1)),
            Act::Refuses => {
                return Err(io::Error::from(io::ErrorKind::ConnectionRefused).into());
            }
            Act::NotFound => return Ok(Answer::status(404).body("no such page")),
            Act::Unsatisfiable => return Ok(Answer::status(416).body("no such range")),
            Act::Changes(_) => {
                self.version += 1;
                self.tag = Some(format!("\"v{}\"", self.version));
                self.content.iter_mut().for_each(|byte| *byte ^= 0x5a);
                self.content.push(7);
            }
            Act::ChangesInSilence => {
                self.version += 1;
                self.tag = None;
                self.content.iter_mut().for_each(|byte| *byte ^= 0xa5);
            }
            Act::Weakens(true) => self.tag = self.tag.take().map(|tag| format!("W/{tag}")),
            Act::Weakens(false) => self.tag = None,
            _ => {}
        }
        let header = |name| {
            request
                .headers()
                .get(name)
                .map(|value| value.to_str().unwrap())
        };
        let total = self.content.len();
        let wanted = header("range").filter(|_| {
            let holds = header("if-range").is_none_or(|tag| self.tag.as_deref() == Some(tag));
            (holds || matches!(act, Act::Changes(true) | Act::ChangesInSilence))
                && !matches!(act, Act::IgnoresRange)
        });
        let range = wanted.map(|range| {
            let (first, last) = range
                .strip_prefix("bytes=")
                .unwrap()
                .split_once('-')
                .unwrap();
            let end = last
                .parse()
                .map_or(total, |last: usize| (last + 1).min(total));
            let first: usize = first.parse().unwrap();
            (first, end)
        });
        if range.is_some_and(|(first, end)| first >= end) {
            return Ok(Answer::status(416));
        }
        let (first, end) = match (&act, range) {
            (Act::Shifts(by), Some((first, end))) => {
                let first = first.saturating_add_signed(isize::from(*by));
                (first.min(end - 1), end)
            }
            (Act::Shorter(share), Some((first, end))) => (
                first,
                first + 1 + (end - first - 1) * usize::from(*share) / 256,
            ),
            (_, Some(range)) => range,
            (_, None) => (0, total),
        };
        let mut bytes = self.content[first..end].to_vec();
        if self.promised.is_none() {
            self.promised = Some((self.requests, bytes.clone(), act.clone()));
        }
        let mut answer = Answer::status(if range.is_some() { 206 } else { 200 });
        if range.is_some() {
            answer = answer.header(
                "content-range",
                format!("bytes {first}-{}/{total}", end - 1),
            );
        }
        if let Some(tag) = &self.tag {
            answer = answer.header("etag", tag);
        }
        answer = match self.is_exact {
            true => answer.exact(bytes.len()),
            false => answer.header("content-length", bytes.len()),
        };
        match act {
            Act::Encodes => answer = answer.header("content-encoding", "gzip"),
            Act::Multipart if range.is_some() => {
                answer = answer.header("content-type", "multipart/byteranges; boundary=b");
            }
            Act::Overflows(more) if range.is_some() => {
                bytes.extend(iter::repeat_n(9, usize::from(more)));
            }
            _ => {}
        }
        let answer = answer.bytes(&bytes);
        Ok(match act {
            Act::Serves(End::Done, 255) => answer,
            Act::Serves(end, share) => {
                answer.ends_after(bytes.len() * usize::from(share) / 256, end)
            }
            _ => answer,
        })
    }
}

/// Sends one request to such a server. `None`: it was answered with another status than 200 or 206.
async fn run(
    state: Arc<Mutex<State>>,
    request: Request<String>,
    retries: bool,
) -> Option<Download> {
    let client = tower::service_fn(move |request: Request<String>| {
        let answer = state.lock().unwrap().answer(&request);
        async move { answer.map(Answer::response) }
    });
    let client = TimeoutLayer::http_attempt(secs(10)).layer(client);
    // Enough for each script.
    let budget = RetryBudget::default().floor(1000);
    match retries {
        true => {
            send(
                RetryLayer::http().budget(budget).resume().layer(client),
                request,
            )
            .await
        }
        false => send(ResumeLayer::new().budget(budget).layer(client), request).await,
    }
}

async fn send<S, B>(client: S, request: Request<String>) -> Option<Download>
where
    S: Service<Request<String>, Response = Response<B>, Error = BoxError>,
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    let response = client.oneshot(request).await.ok()?;
    let is_content = matches!(response.status().as_u16(), 200 | 206);
    match is_content {
        true => Some(read(response.into_body()).await),
        false => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// R86 The reader gets what the head of the first response promised, or a beginning of it and an
    /// error.
    #[test]
    fn the_content_or_an_error(
        content in proptest::collection::vec(any::<u8>(), 1..60),
        script in proptest::collection::vec(act(), 0..12),
        range in proptest::option::of((0..40_usize, 0..40_usize)),
        is_exact: bool,
        retries: bool,
    ) {
        let mut request = get();
        if let Some((first, more)) = range {
            let range = format!("bytes={first}-{}", first + more);
            request.headers_mut().insert("range", range.parse().unwrap());
        }
        let state = Arc::new(Mutex::new(State {
            content,
            version: 1,
            tag: Some("\"v1\"".to_owned()),
            is_exact,
            script: script.clone().into(),
            promised: None,
            requests: 0,
        }));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all().start_paused(true).build().unwrap();
        // The clock is paused: a call that waits for nothing ends here.
        let call = run(Arc::clone(&state), request, retries);
        let call = async { tokio::time::timeout(secs(1_000_000), call).await.expect("it hangs") };
        let Some(got) = runtime.block_on(call) else {
            return Ok(());
        };
        let state = state.lock().unwrap();
        prop_assert!(state.requests <= script.len() + 1);
        let (at, promised, act) = state.promised.as_ref().unwrap();
        let was_alone = state.requests == *at;
        match &got.result {
            Ok(()) => match act {
                // What one response alone does wrong is passed on as it is.
                Act::Overflows(_) if was_alone => prop_assert!(got.bytes.starts_with(promised)),
                Act::Serves(End::Done, _) if was_alone => prop_assert!(promised.starts_with(&got.bytes)),
                _ => prop_assert_eq!(&got.bytes, promised),
            },
            Err(error) => {
                prop_assert!(promised.starts_with(&got.bytes));
                if let Some(error) = find::<NotResumed>(&**error) {
                    prop_assert_eq!(error.delivered(), got.bytes.len() as u64);
                }
            }
        }
    }
}
