//! `Authority`: the host and port of a server, the key of circuits and budgets.

use std::{fmt, str::FromStr, sync::Arc};

/// The host and port of a server: the key of circuits and retry budgets.
///
/// It never contains user information. The host is in lower case. The port of `https`, 443, is the
/// default and is not shown; every other port is.
///
/// ```
/// use tower_keep::http::Authority;
///
/// let api: Authority = "API.example.com".parse()?;
/// assert_eq!(api, "api.example.com:443".parse()?);
/// assert_eq!(api.to_string(), "api.example.com");
/// assert_eq!("localhost:8080".parse::<Authority>()?.to_string(), "localhost:8080");
/// # Ok::<(), tower_keep::http::InvalidAuthority>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Authority(Arc<str>);

const HTTPS: u16 = 443;
const HTTP: u16 = 80;

impl Authority {
    /// `is_plain`: the scheme is `http`, whose default port is 80. `None` if the host is empty.
    pub(super) fn new(host: &str, port: Option<u16>, is_plain: bool) -> Option<Self> {
        if host.is_empty() {
            return None;
        }
        let port = port.unwrap_or(if is_plain { HTTP } else { HTTPS });
        let has_upper = host.bytes().any(|byte| byte.is_ascii_uppercase());
        let shown: Arc<str> = match (port, has_upper) {
            (HTTPS, false) => host.into(),
            (HTTPS, true) => host.to_ascii_lowercase().into(),
            (port, false) => format!("{host}:{port}").into(),
            (port, true) => format!("{}:{port}", host.to_ascii_lowercase()).into(),
        };
        Some(Self(shown))
    }

    /// The host in lower case: a name, or an IP address. An IPv6 address has no brackets.
    ///
    /// ```
    /// use tower_keep::http::Authority;
    ///
    /// let local: Authority = "[::1]:8080".parse()?;
    /// assert_eq!((local.host(), local.port()), ("::1", 8080));
    /// # Ok::<(), tower_keep::http::InvalidAuthority>(())
    /// ```
    #[must_use]
    pub fn host(&self) -> &str {
        let host = self.parts().0;
        let inside = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        inside.unwrap_or(host)
    }

    /// The port. The default of `https` is 443, the default of `http` is 80.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.parts().1
    }

    /// The host as in a URL, and the port.
    fn parts(&self) -> (&str, u16) {
        let shown = self.0.rsplit_once(':');
        // The last part of an IPv6 address ends with a bracket.
        let shown = shown.and_then(|(host, port)| Some((host, port.parse().ok()?)));
        shown.unwrap_or((&self.0, HTTPS))
    }

    /// The authority as text, such as `api.example.com` or `localhost:8080`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Authority {
    type Err = InvalidAuthority;

    /// Parses `host` or `host:port`. User information is dropped.
    fn from_str(text: &str) -> Result<Self, InvalidAuthority> {
        let authority: http::uri::Authority = text.parse().map_err(|_| InvalidAuthority(()))?;
        Self::new(authority.host(), authority.port_u16(), false).ok_or(InvalidAuthority(()))
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A text is no [`Authority`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not the host and port of a server")]
pub struct InvalidAuthority(());
