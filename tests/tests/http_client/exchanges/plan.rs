//! What a seed means: the settings of the client, its calls, and what the origin does with them.

use std::{io, time::Duration};

use bytes::Bytes;
use fastrand::Rng;
use http::Method;
use tower_keep::RepeatRequest;

/// The number of servers of a world. Each has a budget and a circuit of its own.
pub(super) const SERVERS: usize = 2;

/// A generator for one thing in the world of this seed, so that nothing depends on the order in
/// which tasks run.
pub(super) fn rng(seed: u64, about: &str, numbers: [u64; 2]) -> Rng {
    let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
    let bytes = about.bytes().map(u64::from);
    for part in bytes.chain(numbers) {
        state = (state ^ part)
            .wrapping_mul(0x0100_0000_01b3)
            .rotate_left(29);
    }
    Rng::with_seed(state)
}

pub(super) fn chance(rng: &mut Rng, percent: u32) -> bool {
    rng.u32(..100) < percent
}

/// A random number of milliseconds. Half of them are multiples of 10, so that events meet.
pub(super) fn moment(rng: &mut Rng, below: u64) -> Duration {
    let ms = rng.u64(..below);
    Duration::from_millis(if rng.bool() { ms } else { ms / 10 * 10 })
}

/// Which layers are around the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stack {
    /// `Pipeline::http_client`, around bodies that are `Clone`.
    Pipeline,
    /// The pipeline without a circuit, around streamed bodies.
    Streamed,
    /// Log, Retry and the limit of an attempt.
    Retry,
}

/// The client, and how its connections are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    /// hyper-util's client over pipes in memory, with a paused clock.
    Memory,
    /// hyper-util's client over sockets, in real time.
    Sockets,
    /// reqwest over sockets, in real time.
    Reqwest,
}

/// A policy that breaks a rule, to see whether the check notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// Repeats a POST.
    EveryMethod,
    /// Comes back at once.
    IgnoresHints,
}

/// The settings of a world.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) seed: u64,
    pub(super) transport: Transport,
    pub(super) stack: Stack,
    pub(super) wrong: Option<Wrong>,
    pub(super) http2: bool,
    pub(super) keys: bool,
    pub(super) max_retries: u32,
    pub(super) max_body: usize,
    pub(super) attempt_limit: Duration,
    pub(super) overall_limit: Duration,
    /// In percent.
    pub(super) budget_share: u32,
    pub(super) budget_floor: u32,
    pub(super) budget_window: Duration,
    pub(super) failure_threshold: u32,
    pub(super) cooldown: Duration,
    pub(super) hidden_retries: bool,
    pub(super) idle_timeout: Duration,
    pub(super) max_streams: u32,
    pub(super) calls: u64,
    /// How often the origin misbehaves, in percent.
    pub(super) faults: u32,
    /// How often a connection misbehaves, in percent.
    pub(super) cuts: u32,
}

impl Settings {
    pub(super) fn of(seed: u64, transport: Transport, wrong: Option<Wrong>) -> Self {
        let rng = &mut rng(seed, "settings", [0, 0]);
        let stacks = [Stack::Pipeline, Stack::Streamed, Stack::Retry];
        let limits = match transport {
            Transport::Memory => 50..1000,
            Transport::Sockets | Transport::Reqwest => 150..400,
        };
        let attempt_limit = Duration::from_millis(rng.u64(limits));
        Self {
            seed,
            transport,
            stack: stacks[rng.usize(..stacks.len())],
            wrong,
            http2: rng.bool(),
            keys: chance(rng, 30),
            max_retries: if chance(rng, 10) { 0 } else { rng.u32(1..6) },
            max_body: [0, 256, 600, 64 * 1024][rng.usize(..4)],
            attempt_limit,
            overall_limit: attempt_limit * 2 + moment(rng, 60_000),
            budget_share: [20, 50, 100, 100][rng.usize(..4)],
            budget_floor: [0, 3, 30, 100][rng.usize(..4)],
            budget_window: Duration::from_millis(rng.u64(1000..10_000)),
            failure_threshold: [2, 5, 1000][rng.usize(..3)],
            cooldown: Duration::from_millis(rng.u64(10..500)),
            hidden_retries: rng.bool(),
            idle_timeout: Duration::from_millis(rng.u64(50..2000)),
            max_streams: [1, 2, 5, 100][rng.usize(..4)],
            calls: rng.u64(60..90),
            faults: [20, 50, 80][rng.usize(..3)],
            cuts: [0, 20, 60][rng.usize(..3)],
        }
    }
}

impl Settings {
    /// Whether the clock is paused, so that waits cost nothing.
    fn is_paused(&self) -> bool {
        self.transport == Transport::Memory
    }

    /// As [`moment`], on sockets a tenth of it.
    fn moment(&self, rng: &mut Rng, below: u64) -> Duration {
        moment(rng, if self.is_paused() { below } else { below / 10 })
    }
}

/// One call of the user.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) id: u64,
    pub(super) start: Duration,
    pub(super) method: Method,
    /// Which of the servers.
    pub(super) server: usize,
    pub(super) body: Bytes,
    /// The size of the chunks of a streamed body, and the pause between them.
    pub(super) chunks: (usize, Duration),
    /// Whether the length of a streamed body is known.
    pub(super) has_length: bool,
    pub(super) repeat: Option<RepeatRequest>,
    pub(super) own_key: bool,
    /// When the user drops the call.
    pub(super) dropped_after: Option<Duration>,
    /// Whether the user reads the response body.
    pub(super) reads: bool,
}

impl Call {
    pub(super) fn of(settings: &Settings, id: u64) -> Self {
        let rng = &mut rng(settings.seed, "call", [id, 0]);
        let methods = [
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::POST,
            Method::PATCH,
            Method::PUT,
            Method::DELETE,
        ];
        let method = methods[rng.usize(..methods.len())].clone();
        let has_body = !matches!(method, Method::GET | Method::HEAD) && chance(rng, 80);
        let length = if has_body { rng.usize(..1200) } else { 0 };
        Self {
            id,
            start: moment(rng, 4000),
            server: usize::from(chance(rng, 30)),
            body: {
                let mut body = vec![0; length];
                rng.fill(&mut body);
                body.into()
            },
            chunks: (rng.usize(100..700), settings.moment(rng, 30)),
            has_length: rng.bool(),
            repeat: match rng.u32(..20) {
                0 => Some(RepeatRequest::Allowed),
                1 => Some(RepeatRequest::Forbidden),
                _ => None,
            }
            // reqwest hides the extensions of its requests.
            .filter(|_| settings.transport != Transport::Reqwest),
            own_key: chance(rng, 5),
            dropped_after: chance(rng, 8).then(|| settings.moment(rng, 600)),
            reads: chance(rng, 80),
            method,
        }
    }

    /// Whether the user allowed repetitions, by the method, a key or an extension.
    pub(super) fn may_repeat(&self, settings: &Settings) -> bool {
        match self.repeat {
            Some(repeat) => repeat == RepeatRequest::Allowed,
            None => self.method.is_idempotent() || self.own_key || settings.keys,
        }
    }
}

/// What a response asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    Wait(Duration),
    Never,
}

/// How the origin's application ends an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Respond,
    /// It responds, and its body fails.
    BodyFails,
    /// It responds, and its body never ends.
    BodyStalls,
    /// It responds, and its connection closes in the middle of the body.
    BodyCut,
    /// It closes the connection.
    Close,
    /// It fails: HTTP/1 closes the connection, HTTP/2 resets the stream.
    Fail,
    /// HTTP/2 only: it says that it did not process the request.
    Refuse,
    Hang,
}

/// What the origin's application does with a request.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// How many frames of the request body it reads before it answers; `None`: all.
    pub(super) reads: Option<u32>,
    pub(super) delay: Duration,
    /// It shuts the connection down first: with HTTP/2 it sends GOAWAY.
    pub(super) goes_away: bool,
    pub(super) end: End,
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) asks: Option<Asks>,
    pub(super) body: usize,
}

const STATUSES: [u16; 16] = [
    408, 425, 429, 429, 502, 503, 503, 504, 500, 501, 505, 400, 403, 404, 409, 421,
];

impl Answer {
    pub(super) fn of(settings: &Settings, call: u64, arrival: u64) -> Self {
        let rng = &mut rng(settings.seed, "answer", [call, arrival]);
        let is_faulty = chance(rng, settings.faults);
        let mut answer = Self {
            reads: if chance(rng, 10) {
                Some(rng.u32(..2))
            } else {
                None
            },
            delay: if chance(rng, 50) {
                Duration::ZERO
            } else {
                settings.moment(rng, 80)
            },
            goes_away: chance(rng, settings.faults / 5),
            end: End::Respond,
            status: [200, 200, 201, 204, 304][rng.usize(..5)],
            headers: Vec::new(),
            asks: None,
            body: rng.usize(..300),
        };
        if !is_faulty {
            return answer;
        }
        answer.status = STATUSES[rng.usize(..STATUSES.len())];
        answer.end = match rng.u32(..20) {
            0 => End::BodyFails,
            1 => End::BodyStalls,
            2 => End::BodyCut,
            3 | 4 => End::Close,
            5 => End::Fail,
            6 | 7 if settings.http2 => End::Refuse,
            8 => End::Hang,
            _ => End::Respond,
        };
        if chance(rng, 10) {
            answer.delay = settings.moment(rng, 2000);
        }
        if chance(rng, 10) {
            answer.status = 200;
            let code = [1, 4, 8, 13, 14, 14][rng.usize(..6)];
            answer
                .headers
                .push(("content-type", "application/grpc".to_owned()));
            answer.headers.push(("grpc-status", code.to_string()));
        }
        answer.ask(settings, rng);
        answer
    }

    fn grpc_status(&self) -> Option<&str> {
        let grpc = self.headers.iter().find(|(name, _)| *name == "grpc-status");
        grpc.map(|(_, code)| code.as_str())
    }

    /// Whether this answer, once received, fails the job.
    pub(super) fn fails_job(&self) -> bool {
        match self.grpc_status() {
            Some(code) => code != "8",
            None => self.status >= 500,
        }
    }

    /// Whether this answer is a failure that may pass.
    pub(super) fn may_pass(&self) -> bool {
        match self.grpc_status() {
            Some(code) => code != "13",
            None => matches!(self.status, 408 | 425 | 429 | 502 | 503 | 504),
        }
    }

    fn ask(&mut self, settings: &Settings, rng: &mut Rng) {
        let seconds = match rng.u32(..10) {
            _ if !settings.is_paused() => u64::from(chance(rng, 10)),
            0 => rng.u64(5..90),
            _ => rng.u64(..4),
        };
        let ms = rng.u64(..if settings.is_paused() { 3000 } else { 80 });
        match rng.u32(..10) {
            0..=2 => {
                self.asks = Some(Asks::Wait(Duration::from_secs(seconds)));
                self.headers.push(("retry-after", seconds.to_string()));
            }
            // The clock of this server is decades late.
            3 | 4 => {
                let wait = seconds % 20;
                let date = |second| format!("Sun, 06 Nov 1994 08:49:{second:02} GMT");
                let now = rng.u64(..30);
                self.asks = Some(Asks::Wait(Duration::from_secs(wait)));
                self.headers.push(("date", date(now)));
                self.headers.push(("retry-after", date(now + wait)));
            }
            5 => {
                self.asks = Some(Asks::Wait(Duration::from_millis(ms)));
                self.headers
                    .push(("grpc-retry-pushback-ms", ms.to_string()));
            }
            6 if rng.bool() => {
                self.asks = Some(Asks::Never);
                self.headers
                    .push(("grpc-retry-pushback-ms", "-1".to_owned()));
            }
            _ => {}
        }
    }
}

/// What happens to a connection, apart from what the application does.
#[derive(Clone, Debug)]
pub(super) enum Connect {
    Refused,
    Failed,
    Hangs,
    Connected(Connected),
}

/// What happens to a connection that is made.
#[derive(Clone, Debug)]
pub(super) struct Connected {
    pub(super) delay: Duration,
    /// The size of the pipe.
    pub(super) buffer: usize,
    /// How many bytes the server reads and writes before the connection is cut.
    pub(super) cuts: (Option<usize>, Option<usize>),
    /// What the client sees instead of the end of the stream: an error of its socket.
    pub(super) error: Option<io::ErrorKind>,
    /// The server closes the connection at this age, gracefully or not.
    pub(super) closes_after: Option<(Duration, bool)>,
}

/// What a socket reports when its connection has failed. After an ICMP message, a connection that
/// times out ends with the error of that message, as if it had never been made.
const SOCKET_ERRORS: [io::ErrorKind; 6] = [
    io::ErrorKind::ConnectionReset,
    io::ErrorKind::ConnectionReset,
    io::ErrorKind::TimedOut,
    io::ErrorKind::HostUnreachable,
    io::ErrorKind::NetworkUnreachable,
    io::ErrorKind::ConnectionRefused,
];

impl Connect {
    pub(super) fn of(settings: &Settings, connection: u64) -> Self {
        let rng = &mut rng(settings.seed, "connect", [connection, 0]);
        let misbehaves = chance(rng, settings.cuts);
        if misbehaves {
            match rng.u32(..10) {
                0 | 1 => return Self::Refused,
                2 => return Self::Failed,
                3 => return Self::Hangs,
                _ => {}
            }
        }
        let mut cut = |most| (misbehaves && rng.bool()).then(|| rng.usize(..most));
        let cuts = (cut(3000), cut(3000));
        Self::Connected(Connected {
            delay: if rng.bool() {
                Duration::ZERO
            } else {
                settings.moment(rng, 40)
            },
            buffer: [128, 1024, 16 * 1024][rng.usize(..3)],
            cuts,
            error: chance(rng, 60).then(|| SOCKET_ERRORS[rng.usize(..SOCKET_ERRORS.len())]),
            closes_after: chance(rng, 50).then(|| (settings.moment(rng, 2000), rng.bool())),
        })
    }
}
