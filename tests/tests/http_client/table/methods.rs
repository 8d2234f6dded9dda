//! Status, method, header and hint: which requests are repeated, and when.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use tower::{Layer, ServiceExt};
use tower_keep::{
    RetryLayer,
    http::{Hint, RetryHint, StandardHints},
    retry::Jitter,
};
use tower_keep_tests::*;

use super::{
    BACKOFF, CHOICES, Choice, Fields, HINTS, METHODS, expected,
    moments::{Server, of_http, of_reqwest},
    request,
};

/// Statuses for each combination with hints: success, redirects, errors of each kind.
const SOME: [u16; 13] = [
    101, 200, 301, 404, 408, 413, 425, 429, 500, 501, 502, 503, 504,
];

/// Whether reqwest's requests can carry this choice.
fn is_for_reqwest(choice: Choice) -> bool {
    !matches!(choice, Choice::Extension(_) | Choice::KeyButForbidden)
}

/// R80 R81 Each status, with each method and each choice.
#[tokio::test(start_paused = true)]
async fn each_status_with_each_method() {
    for status in 100..600 {
        for method in METHODS {
            for choice in CHOICES {
                let row = format!("{status} {method:?} {choice:?}");
                let expected = expected(status, method, choice, &BACKOFF);
                let moments = of_http(method.0, choice.0, status, &[]).await;
                assert_eq!(moments, expected, "{row}");
                if is_for_reqwest(choice.0) && method.0 != "CONNECT" {
                    let moments = of_reqwest(method.0, choice.0, status, &[]).await;
                    assert_eq!(moments, expected, "reqwest: {row}");
                }
            }
        }
    }
}

/// R80 R82 Each hint, with each method, each choice and a status of each kind; and each hint with
/// each status.
#[tokio::test(start_paused = true)]
async fn each_hint_is_followed_to_the_moment() {
    for (fields, moments) in HINTS {
        for method in METHODS {
            for choice in CHOICES {
                for status in SOME {
                    let row = format!("{status} {method:?} {choice:?} {fields:?}");
                    let expected = expected(status, method, choice, moments);
                    let seen = of_http(method.0, choice.0, status, fields).await;
                    assert_eq!(seen, expected, "{row}");
                }
            }
        }
        for status in 100..600 {
            for method in [METHODS[0], METHODS[7]] {
                let row = format!("{status} {method:?} {fields:?}");
                let expected = expected(status, method, CHOICES[0], moments);
                let seen = of_reqwest(method.0, Choice::Nothing, status, fields).await;
                assert_eq!(seen, expected, "{row}");
            }
        }
    }
}

/// R82 With jitter, the backoff is at most the nominal one, and a hint is never shortened and at most
/// 10 % longer. The same seed gives the same moments.
#[tokio::test(start_paused = true)]
async fn jitter_stays_in_its_bounds() {
    let attempts = async |fields, seed| {
        let server = Server::new(503, fields);
        let calls = server.clone();
        let retry = RetryLayer::http().seed(seed);
        retry.layer(server).oneshot(request("GET")).await.unwrap();
        calls.moments()
    };
    for (fields, moments) in HINTS {
        for seed in 0..20 {
            let seen = attempts(fields, seed).await;
            assert_eq!(seen, attempts(fields, seed).await, "{fields:?}");
            // There is no overall limit here.
            let is_too_long = fields
                .iter()
                .any(|field| field.1 == "61" || field.1 == "-1");
            assert_eq!(seen.len(), if is_too_long { 1 } else { 4 }, "{fields:?}");
            if moments.len() < 2 {
                continue;
            }
            let asked = (moments != BACKOFF).then(|| ms(moments[1]));
            for (gap, backoff) in seen.windows(2).zip([100, 200, 400]) {
                let gap = gap[1] - gap[0];
                let (least, most) = match asked {
                    Some(asked) => (asked, asked.mul_f64(1.1)),
                    None => (Duration::ZERO, ms(backoff)),
                };
                // A timer is exact to the millisecond, upwards.
                assert!(least <= gap && gap <= most + ms(1), "{fields:?}: {gap:?}");
            }
        }
    }
}

/// R82 A date without `Date` is measured against the clock of the client. After that time the
/// backoff counts.
#[tokio::test(start_paused = true)]
async fn a_date_without_the_servers_clock() {
    let now = tower_keep::event::wall_time(tokio::time::Instant::now());
    // A date has whole seconds.
    let date = httpdate::fmt_http_date(now + secs(30));
    let fields: &'static Fields = Box::leak(Box::new([("retry-after", &*date.leak())]));
    let moments = of_http("GET", Choice::Nothing, 503, fields).await;
    assert_eq!(moments.len(), 4);
    assert!(
        secs(29) < moments[1] && moments[1] <= secs(30) + ms(1),
        "{moments:?}"
    );
    let later = moments[3] - moments[1];
    assert!(ms(600) <= later && later <= ms(602), "{moments:?}");
}

/// GitHub's limits, as in the docs of `RetryHint`.
struct GitHub;

impl RetryHint for GitHub {
    fn hint(&self, status: StatusCode, headers: &HeaderMap) -> Option<Hint> {
        if let Some(hint) = StandardHints.hint(status, headers) {
            return Some(hint);
        }
        let is_limit = [StatusCode::FORBIDDEN, StatusCode::TOO_MANY_REQUESTS].contains(&status);
        let is_used_up = headers.get("x-ratelimit-remaining")? == "0";
        let reset = headers.get("x-ratelimit-reset")?.to_str().ok()?.parse();
        (is_limit && is_used_up).then(|| Hint::at_unix_seconds(reset.unwrap()))
    }
}

/// R81 R82 A hint of the user repeats the statuses that it answers to, from 400 on, for requests that
/// may be repeated. The table decides about the others.
#[tokio::test(start_paused = true)]
async fn a_hint_of_the_user() {
    const USED_UP: (&str, &str) = ("x-ratelimit-remaining", "0");
    const LEFT: (&str, &str) = ("x-ratelimit-remaining", "4999");
    // 7 s after `Date`.
    const RESET: (&str, &str) = ("x-ratelimit-reset", "784111784");
    const SEVEN: [u64; 4] = [0, 7000, 14_000, 21_000];
    let table: [(u16, &'static Fields, &str, &[u64]); 12] = [
        (403, &[super::DATE, USED_UP, RESET], "GET", &SEVEN),
        (429, &[super::DATE, USED_UP, RESET], "GET", &SEVEN),
        (403, &[("retry-after", "7")], "GET", &SEVEN),
        (403, &[super::DATE, USED_UP, RESET], "POST", &[0]),
        (403, &[("grpc-retry-pushback-ms", "-1")], "GET", &[0]),
        // A missing permission.
        (403, &[super::DATE, LEFT, RESET], "GET", &[0]),
        (403, &[], "GET", &[0]),
        (404, &[super::DATE, USED_UP, RESET], "GET", &[0]),
        // No error: nothing to repeat.
        (200, &[("retry-after", "7")], "GET", &[0]),
        (301, &[("retry-after", "7")], "GET", &[0]),
        // No answer of the hint: the table decides.
        (503, &[], "GET", &BACKOFF),
        (500, &[], "GET", &[0]),
    ];
    for (status, fields, method, moments) in table {
        let server = Server::new(status, fields);
        let calls = server.clone();
        let retry = RetryLayer::http().jitter(Jitter::None).hints(GitHub);
        let answer = retry.layer(server).oneshot(request(method)).await;
        assert_eq!(answer.unwrap().status(), status);
        let expected: Vec<_> = moments.iter().copied().map(ms).collect();
        assert_eq!(calls.moments(), expected, "{status} {method} {fields:?}");
    }
}
