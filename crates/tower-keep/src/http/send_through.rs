//! `SendThrough`: sends a request of reqwest's builder through a stack.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use reqwest::{Request, RequestBuilder, Response};
use tower_service::Service;

/// Sends the requests of reqwest's builder through a stack of layers around a client.
///
/// Each request uses a clone of the stack. The client that made the builder does not send the
/// request, the client in the stack does. So give the stack a clone of the same client.
///
/// The stack can be any service of reqwest's requests whose error can hold reqwest's error: a
/// [`HttpClient`](super::HttpClient), a `ServiceBuilder` stack, tower's `BoxCloneSyncService`. A
/// `PipelineLayer` is not a service before it is around a client.
///
/// ```
/// use tower::Layer;
/// use tower_keep::{BoxError, Pipeline, SendThrough, http::HttpClient};
///
/// #[derive(Clone)]
/// struct Api {
///     client: reqwest::Client,
///     stack: HttpClient<reqwest::Client>,
/// }
///
/// impl Api {
///     fn new() -> Result<Self, BoxError> {
///         let client = reqwest::Client::builder()
///             .retry(reqwest::retry::never()) // The stack retries, so reqwest itself must not.
///             .redirect(reqwest::redirect::Policy::none()) // It would hide what came of a POST.
///             .build()?;
///         let stack = Pipeline::http_client().build()?.layer(client.clone());
///         Ok(Self { client, stack })
///     }
///
///     async fn user(&self, name: &str) -> Result<String, BoxError> {
///         let url = format!("https://api.example.com/users/{name}");
///         let response = self.client.get(url).send_through(&self.stack).await?;
///         Ok(response.error_for_status()?.text().await?)
///     }
/// }
/// # let _ = (Api::new, Api::user);
/// ```
pub trait SendThrough: sealed::Sealed + Sized {
    /// Builds the request and sends it through the stack.
    ///
    /// # Errors
    ///
    /// reqwest's error if the builder is invalid, such as for a bad URL. The stack then sees no
    /// request and logs nothing. Otherwise the error of the stack.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the call, which then stops.
    fn send_through<S>(self, stack: &S) -> Sending<S>
    where
        S: Service<Request, Response = Response> + Clone,
        S::Error: From<reqwest::Error>;
}

impl SendThrough for RequestBuilder {
    fn send_through<S>(self, stack: &S) -> Sending<S>
    where
        S: Service<Request, Response = Response> + Clone,
        S::Error: From<reqwest::Error>,
    {
        let state = match self.build() {
            Ok(request) => State::Readying {
                stack: stack.clone(),
                request: Some(request),
            },
            Err(error) => State::Invalid { error: Some(error) },
        };
        Sending { state }
    }
}

pin_project! {
    /// The future of [`SendThrough::send_through`].
    #[must_use = "futures do nothing unless polled"]
    pub struct Sending<S: Service<Request>> {
        #[pin]
        state: State<S, S::Future>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, F> {
        Invalid { error: Option<reqwest::Error> },
        Readying { stack: S, request: Option<Request> },
        Calling { #[pin] future: F },
    }
}

impl<S> Future for Sending<S>
where
    S: Service<Request, Response = Response>,
    S::Error: From<reqwest::Error>,
{
    type Output = Result<Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProj::Invalid { error } => match error.take() {
                    Some(error) => return Poll::Ready(Err(error.into())),
                    None => panic!("a request was polled after it was ready"),
                },
                StateProj::Readying { stack, request } => {
                    ready!(stack.poll_ready(cx))?;
                    let Some(request) = request.take() else {
                        panic!("a request was polled after it was ready")
                    };
                    let future = stack.call(request);
                    state.set(State::Calling { future });
                }
                StateProj::Calling { future } => return future.poll(cx),
            }
        }
    }
}

impl<S: Service<Request>> fmt::Debug for Sending<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").finish_non_exhaustive()
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for reqwest::RequestBuilder {}
}
