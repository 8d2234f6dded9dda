//! A fresh token after a 401: ask 4.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use http::{HeaderValue, StatusCode, header::AUTHORIZATION};
use reqwest::{Request, Response};
use tower::ServiceBuilder;
use tower_keep::{
    BoxError, RetryLayer, SendThrough,
    retry::{Decision, Jitter},
};
use tower_keep_test::http::{Origin, Received, Reply};
use tower_keep_tests::*;

use super::{VERSIONS, reqwest_client};

type Outcome = Result<Response, BoxError>;

fn unauthorized(outcome: &Outcome) -> bool {
    outcome
        .as_ref()
        .is_ok_and(|response| response.status() == StatusCode::UNAUTHORIZED)
}

/// The server of the tokens: the nth token is `token-n`.
#[derive(Clone, Default)]
struct Tokens(Arc<AtomicU32>);

impl Tokens {
    async fn get(&self, is_refused: bool) -> Result<HeaderValue, BoxError> {
        tokio::task::yield_now().await;
        let issued = self.0.fetch_add(u32::from(is_refused), Ordering::Relaxed);
        let number = issued + u32::from(is_refused);
        let mut token = HeaderValue::from_str(&format!("Bearer hunter2-{number}"))?;
        token.set_sensitive(true);
        Ok(token)
    }
}

fn sent(origin: &Origin) -> Vec<(String, String)> {
    let of = |request: &Received| {
        let token = request.header("authorization").unwrap_or_default();
        let body = String::from_utf8(request.body.to_vec()).unwrap();
        (token.replace("Bearer hunter2-", ""), body)
    };
    origin.received().iter().map(of).collect()
}

/// R80 R83 Ask 4: after a 401 the request is repeated once, with a new token and its whole body. A
/// POST too, because the server refused it. The token stays for the attempts after a 503.
#[tokio::test]
async fn a_new_token_after_a_401_once() -> Result<(), BoxError> {
    for version in VERSIONS {
        let tokens = Tokens::default();
        let origin = Origin::start().await?;
        let client = reqwest_client(version)?;
        let issuer = tokens.clone();
        let retry = RetryLayer::http()
            .base_delay(ms(1))
            .jitter(Jitter::None)
            .decide_first(|outcome: &Outcome, attempt| {
                unauthorized(outcome).then(|| match attempt.number() {
                    1 => Decision::RetryIn(ms(0)),
                    _ => Decision::Stop,
                })
            })
            .before_attempt_async_with_outcome(
                unauthorized,
                move |mut request: Request, _, was_refused| {
                    let tokens = issuer.clone();
                    async move {
                        let token = tokens.get(was_refused == Some(true)).await?;
                        request.headers_mut().insert(AUTHORIZATION, token);
                        Ok::<_, BoxError>(request)
                    }
                },
            );
        let api = ServiceBuilder::new()
            .layer(retry)
            .map_err(BoxError::from)
            .service(client.clone());

        // The token is good.
        origin.push(Reply::status(201));
        let url = origin.url("/orders");
        let order = || client.post(&url).body("order");
        assert_eq!(order().send_through(&api).await?.status(), 201);
        assert_eq!(sent(&origin), [("0".to_owned(), "order".to_owned())]);

        // It has expired.
        origin.push(Reply::status(401).body("expired"));
        origin.push(Reply::status(201));
        assert_eq!(order().send_through(&api).await?.status(), 201);
        let all = sent(&origin);
        assert_eq!(all[1..], [("0", "order"), ("1", "order")].map(owned));

        // The new one is refused too: once is enough.
        origin.push(Reply::status(401));
        origin.push(Reply::status(401));
        assert_eq!(order().send_through(&api).await?.status(), 401);
        assert_eq!(tokens.0.load(Ordering::Relaxed), 2);

        // A GET is repeated after a 503, without another token.
        origin.push(Reply::status(401));
        origin.push(Reply::status(503));
        origin.push(Reply::status(200));
        let response = client.get(&url).send_through(&api).await?;
        assert_eq!(response.status(), 200);
        let all = sent(&origin);
        assert_eq!(all[5..], [("2", ""), ("3", ""), ("3", "")].map(owned));
        origin.assert_finished();
    }
    Ok(())
}

fn owned((token, body): (&str, &str)) -> (String, String) {
    (token.to_owned(), body.to_owned())
}
