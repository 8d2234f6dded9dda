//! [`Origin`]: a running server with a script and a record.

use std::{fmt, io, net::SocketAddr, sync::Arc};

use super::{
    InMemoryStream, Received, Reply, connection, listener::Listener, socket::Socket, state,
};
use crate::sync::lock;
use state::{CutAll, OnConnect, State};

/// An HTTP server that plays a script of [`Reply`]s, good ones and faults, and records what arrived
/// when.
///
/// It speaks HTTP/1.1 and HTTP/2 (with prior knowledge) on the same address, without TLS. It runs in
/// tasks of its own and stops when it is dropped.
///
/// Each request takes the next reply, in the order in which the heads arrive. An origin without a
/// script answers everything with 200. After the end of a script comes 500 with an explanation in
/// the body, which [`problems`](Self::problems) lists too, unless [`repeat_last`](Self::repeat_last)
/// or [`answer_with`](Self::answer_with) say what follows.
///
/// Use [`in_memory`](Self::in_memory) with a paused clock: on sockets, a paused clock runs ahead
/// while bytes are under way.
///
/// ```
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
/// use tower_keep_test::http::{Origin, Reply};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let origin = Origin::start().await?.then(Reply::status(200).body("0123456789").truncate_after(4));
///
/// let mut client = tokio::net::TcpStream::connect(origin.address()).await?;
/// client.write_all(b"GET /page HTTP/1.1\r\nhost: origin\r\n\r\n").await?;
/// let mut answer = String::new();
/// client.read_to_string(&mut answer).await?;
///
/// assert_eq!(answer, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123");
/// assert_eq!(origin.received()[0].path(), "/page");
/// origin.assert_finished();
/// # Ok(())
/// # }
/// ```
#[must_use = "an origin stops when it is dropped"]
pub struct Origin {
    state: Arc<State>,
    /// `None` in memory.
    listener: Option<Arc<Listener>>,
}

impl Origin {
    /// Listens on a free port of the loopback interface.
    ///
    /// # Errors
    ///
    /// If the system gives no port.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub async fn start() -> io::Result<Self> {
        let state = Arc::new(State::default());
        let listener = Arc::new(Listener::bind().await?);
        let accepting = listener.clone();
        let shared = state.clone();
        state.spawn(async move {
            loop {
                let socket = accepting.next().await;
                admit(&shared, Socket::tcp(socket));
            }
        });
        Ok(Self {
            state,
            listener: Some(listener),
        })
    }

    /// An origin without sockets, for a paused clock. Connect with [`connect`](Self::connect) or a
    /// [`connector`](Self::connector).
    pub fn in_memory() -> Self {
        Self {
            state: Arc::default(),
            listener: None,
        }
    }

    /// Adds a reply to the script.
    pub fn then(self, reply: Reply) -> Self {
        self.push(reply);
        self
    }

    /// Adds these replies to the script.
    pub fn script(self, replies: impl IntoIterator<Item = Reply>) -> Self {
        for reply in replies {
            self.push(reply);
        }
        self
    }

    /// Adds this reply `count` times.
    pub fn times(self, count: usize, reply: &Reply) -> Self {
        for _ in 0..count {
            self.push(reply.clone());
        }
        self
    }

    /// Repeats the last reply after the end of the script.
    ///
    /// # Panics
    ///
    /// If the script is empty.
    #[track_caller]
    pub fn repeat_last(self) -> Self {
        lock(&self.state.script).repeat_last();
        self
    }

    /// Computes the replies after the end of the script, each from its complete request. At that
    /// time [`Reply::early`] is too late: see [`answer_head_with`](Self::answer_head_with).
    ///
    /// If the closure panics, the client gets 500, and [`problems`](Self::problems) shows the
    /// message.
    pub fn answer_with<F>(self, reply: F) -> Self
    where
        F: Fn(&Received) -> Reply + Send + Sync + 'static,
    {
        lock(&self.state.script).compute(false, reply);
        self
    }

    /// As [`answer_with`](Self::answer_with), but from the head of the request, before its body.
    pub fn answer_head_with<F>(self, reply: F) -> Self
    where
        F: Fn(&Received) -> Reply + Send + Sync + 'static,
    {
        lock(&self.state.script).compute(true, reply);
        self
    }

    /// Adds a reply to the script of a running origin.
    pub fn push(&self, reply: Reply) {
        lock(&self.state.script).push(reply);
    }

    /// The address that the origin listens on.
    ///
    /// # Panics
    ///
    /// In memory there is no address.
    #[must_use]
    #[track_caller]
    pub fn address(&self) -> SocketAddr {
        self.listener
            .as_ref()
            .expect("an origin in memory has no address")
            .address()
    }

    /// Host and port for a URL. In memory it is `origin.test`.
    #[must_use]
    pub fn authority(&self) -> String {
        match &self.listener {
            Some(listener) => listener.address().to_string(),
            None => "origin.test".to_owned(),
        }
    }

    /// The URL of a path. The path begins with `/` and may have a query.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.authority())
    }

    /// Opens a connection in memory, to an origin in memory or on a socket.
    ///
    /// # Errors
    ///
    /// [`ConnectionRefused`](io::ErrorKind::ConnectionRefused) after [`refuse`](Self::refuse).
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn connect(&self) -> io::Result<InMemoryStream> {
        self.connector().connect()
    }

    /// A handle that opens connections in memory, for a client that connects by itself. Connections
    /// end when the origin is dropped.
    #[must_use]
    pub fn connector(&self) -> Connector {
        Connector(self.state.clone())
    }

    /// Refuses new connections. The others stay. The port stays reserved.
    ///
    /// # Errors
    ///
    /// If the system does not give the port back.
    pub fn refuse(&self) -> io::Result<()> {
        if let Some(listener) = &self.listener {
            for stream in listener.refuse()? {
                admit(&self.state, Socket::tcp(stream));
            }
        }
        self.on_connect(OnConnect::Refuse);
        Ok(())
    }

    /// Accepts new connections again, and serves them.
    ///
    /// # Errors
    ///
    /// If the system does not give the port back.
    pub fn accept(&self) -> io::Result<()> {
        self.on_connect(OnConnect::Serve);
        self.listener
            .as_ref()
            .map_or(Ok(()), |listener| listener.accept())
    }

    /// Accepts new connections and closes them at once, before it reads anything.
    pub fn close_on_connect(&self) {
        self.on_connect(OnConnect::Close);
    }

    /// Accepts new connections and resets them at once, before it reads anything.
    pub fn reset_on_connect(&self) {
        self.on_connect(OnConnect::Reset);
    }

    /// Accepts new connections and neither reads nor writes.
    pub fn hang_on_connect(&self) {
        self.on_connect(OnConnect::Hang);
    }

    /// Closes all connections that are being served, whatever they do. New ones are served.
    pub fn close_connections(&self) {
        self.state.cut_all(CutAll::Close);
    }

    /// Resets all connections that are being served, whatever they do. New ones are served.
    pub fn reset_connections(&self) {
        self.state.cut_all(CutAll::Reset);
    }

    fn on_connect(&self, what: OnConnect) {
        *lock(&self.state.on_connect) = what;
    }

    /// The requests in the order in which their heads arrived, in their present state.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.state.received()
    }

    /// The number of requests whose heads arrived.
    #[must_use]
    pub fn count(&self) -> usize {
        self.state.count()
    }

    /// The number of connections that were accepted.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.state.connections()
    }

    /// Waits until the received requests are as `condition` says.
    ///
    /// # Panics
    ///
    /// If that never happens: on a paused clock as soon as nothing else can happen.
    pub async fn until<F>(&self, condition: F)
    where
        F: Fn(&[Received]) -> bool,
    {
        assert!(
            self.state.until(condition).await,
            "the condition never held; the origin received {:#?}",
            self.received()
        );
    }

    /// What went wrong in the test itself: requests after the end of the script, requests that are
    /// not HTTP, panics of a closure.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        self.state.problems()
    }

    /// Asserts that all replies of the script were used and that there were no
    /// [`problems`](Self::problems).
    ///
    /// # Panics
    ///
    /// If not.
    #[track_caller]
    pub fn assert_finished(&self) {
        let problems = self.problems();
        assert!(
            problems.is_empty(),
            "the origin had problems: {problems:#?}"
        );
        let unused = lock(&self.state.script).unused();
        assert!(
            unused == 0,
            "{unused} replies were not used; the origin received {:#?}",
            self.received()
        );
    }
}

/// Begins to serve a connection, or does with it what the test said.
fn admit(state: &Arc<State>, socket: Socket) {
    let number = state.connected();
    let what = *lock(&state.on_connect);
    match what {
        OnConnect::Serve => {
            let cuts = state.cuts();
            state.spawn(connection::serve(state.clone(), socket, number, cuts));
        }
        OnConnect::Reset => socket.reset_on_drop(),
        OnConnect::Hang => state.spawn(async move {
            let _open = socket;
            std::future::pending::<()>().await;
        }),
        OnConnect::Close | OnConnect::Refuse => {}
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.state.stop();
        if let Some(listener) = &self.listener {
            listener.stop();
        }
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin")
            .field("authority", &self.authority())
            .field("connections", &self.connections())
            .field("received", &self.count())
            .finish_non_exhaustive()
    }
}

/// Opens connections in memory to an [`Origin`]. Clones are handles to the same origin.
///
/// For hyper's `client::conn`, wrap the stream in `hyper_util::rt::TokioIo`, as the
/// [module](super#hypers-client-on-a-paused-clock) shows.
#[derive(Clone)]
pub struct Connector(Arc<State>);

impl Connector {
    /// Opens a connection.
    ///
    /// # Errors
    ///
    /// [`ConnectionRefused`](io::ErrorKind::ConnectionRefused) if the origin refuses connections or
    /// was dropped.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn connect(&self) -> io::Result<InMemoryStream> {
        let refused = *lock(&self.0.on_connect) == OnConnect::Refuse || self.0.is_stopped();
        if refused {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (near, far) = Socket::in_memory();
        admit(&self.0, near);
        Ok(far)
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}
