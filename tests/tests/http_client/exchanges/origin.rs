//! The origin: hyper's server, and an application that does what the plan says.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::{
    body::{Body, Frame, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};
use tower_keep::BoxError;

use super::{
    plan::{Answer, End},
    record::{Arrival, World},
};

/// What the application wants of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Serve,
    ShutDown,
    Abort,
}

/// Serves one connection until it ends.
pub(super) async fn serve<I>(world: Arc<World>, io: I, closes_after: Option<(Duration, bool)>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (orders, mut ordered) = watch::channel(Order::Serve);
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().half_close(world.settings.seed % 4 == 0);
    server.http1().auto_date_header(false);
    server.http2().auto_date_header(false);
    (server.http2()).max_concurrent_streams(world.settings.max_streams);
    let server = match world.settings.http2 {
        true => server.http2_only(),
        false => server.http1_only(),
    };
    let application = service_fn(|request| answer(world.clone(), orders.clone(), request));
    let connection = server.serve_connection(TokioIo::new(io), application);
    let mut connection = std::pin::pin!(connection);
    let closing = async {
        match closes_after {
            Some((age, is_graceful)) => {
                tokio::time::sleep(age).await;
                is_graceful
            }
            None => std::future::pending().await,
        }
    };
    let mut closing = std::pin::pin!(closing);
    let mut is_closing = false;
    loop {
        // Biased, so that a seed always means the same.
        tokio::select! {
            biased;
            _ = ordered.changed() => match *ordered.borrow() {
                Order::Serve => {}
                Order::ShutDown => connection.as_mut().graceful_shutdown(),
                Order::Abort => return,
            },
            is_graceful = &mut closing, if !is_closing => {
                is_closing = true;
                match is_graceful {
                    true => connection.as_mut().graceful_shutdown(),
                    false => return,
                }
            }
            _ = connection.as_mut() => return,
        }
    }
}

/// The application.
async fn answer(
    world: Arc<World>,
    orders: watch::Sender<Order>,
    request: Request<Incoming>,
) -> Result<Response<Page>, BoxError> {
    let (number, answer) = arrive(&world, &request);
    let mut body = request.into_body();
    read(&world, number, &answer, &mut body).await;
    if answer.goes_away {
        orders.send_replace(Order::ShutDown);
    }
    if answer.delay > Duration::ZERO {
        tokio::time::sleep(answer.delay).await;
    }
    let end = match answer.end {
        End::Close => {
            orders.send_replace(Order::Abort);
            return Err("closed".into());
        }
        End::Fail => return Err("failed".into()),
        End::Refuse => {
            world.record().arrivals[number].was_refused = true;
            return Err(h2::Error::from(h2::Reason::REFUSED_STREAM).into());
        }
        End::Hang => std::future::pending().await,
        end => end,
    };
    let mut response = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        response = response.header(*name, value);
    }
    let page = Page {
        chunks: [answer.body / 2, answer.body - answer.body / 2]
            .map(|size| Bytes::from(vec![b'x'; size]))
            .into(),
        end,
        orders,
    };
    Ok(response.header("x-arrival", number).body(page)?)
}

/// Records the head. Returns the number of the arrival, and what to do with it.
fn arrive(world: &World, request: &Request<Incoming>) -> (usize, Answer) {
    let text = |name| {
        let value = request.headers().get(name)?;
        Some(value.to_str().unwrap().to_owned())
    };
    let number = |name| text(name).map(|text| text.parse::<u32>().unwrap());
    let call = number("x-call").unwrap().into();
    let mut record = world.record();
    let earlier = record
        .arrivals
        .iter()
        .filter(|arrival| arrival.call == call);
    let answer = Answer::of(&world.settings, call, earlier.count() as u64);
    record.arrivals.push(Arrival {
        call,
        attempt: number("x-attempt").unwrap(),
        earlier: number("grpc-previous-rpc-attempts").unwrap_or(0),
        at: world.now(),
        method: request.method().clone(),
        key: text("idempotency-key"),
        body: None,
        answer: answer.clone(),
        was_refused: false,
    });
    (record.arrivals.len() - 1, answer)
}

/// Reads the part of the request body that the plan says.
async fn read(world: &World, number: usize, answer: &Answer, body: &mut Incoming) {
    let mut arrived = Vec::new();
    let mut frames = 0;
    while answer.reads.is_none_or(|most| frames < most) {
        match body.frame().await {
            Some(Ok(frame)) => arrived.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
            Some(Err(_)) => return,
            None => {
                let mut record = world.record();
                let arrival = &mut record.arrivals[number];
                arrival.body = Some(arrived == world.call(arrival.call).body);
                return;
            }
        }
        frames += 1;
    }
}

/// A response body.
struct Page {
    chunks: VecDeque<Bytes>,
    end: End,
    orders: watch::Sender<Order>,
}

impl Body for Page {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.chunks.len() == 1 {
            match self.end {
                End::BodyFails => return Poll::Ready(Some(Err("the body failed".into()))),
                End::BodyCut => {
                    self.orders.send_replace(Order::Abort);
                    return Poll::Pending;
                }
                End::BodyStalls => return Poll::Pending,
                _ => {}
            }
        }
        let chunk = self.chunks.pop_front();
        Poll::Ready(chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}
