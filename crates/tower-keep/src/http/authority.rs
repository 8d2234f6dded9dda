//! `Authority`: the host and port of a server, the key of circuits and budgets.

use std::{
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
    sync::Arc,
};

use http::uri;

/// The host and port of a server: the key of circuits and retry budgets.
///
/// The case of the host does not matter. The default port is that of `https`, 443, and is not
/// shown; every other port is. User information is no part of it.
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
#[derive(Clone)]
pub struct Authority {
    host: Host,
    port: u16,
}

const HTTPS: u16 = 443;
const HTTP: u16 = 80;

impl Authority {
    /// The key of all requests that name no server.
    pub(super) const UNKNOWN: Self = Self {
        host: Host::EMPTY,
        port: HTTPS,
    };

    /// `host` as in a URL, without port and user information.
    pub(super) fn new(host: &str, port: Option<u16>, is_plain: bool) -> Self {
        let default = if is_plain { HTTP } else { HTTPS };
        Self {
            host: Host::new(host),
            port: port.unwrap_or(default),
        }
    }

    /// Of a valid authority, which may have a port and user information.
    pub(super) fn of(authority: &uri::Authority, is_plain: bool) -> Self {
        let (host, port) = split(authority.as_str());
        Self::new(host, port, is_plain)
    }

    /// The host in lower case: a name, or an IP address. An IPv6 address has no brackets. Empty if
    /// the request named no server.
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
        let host = self.shown_host();
        let inside = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        inside.unwrap_or(host)
    }

    /// The host as in a URL.
    fn shown_host(&self) -> &str {
        self.host.as_str()
    }

    /// The port, also if it is the default of the scheme.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for Authority {
    type Err = InvalidAuthority;

    /// Parses `host` or `host:port`.
    fn from_str(text: &str) -> Result<Self, InvalidAuthority> {
        match text.parse::<uri::Authority>() {
            Ok(host) if !host.host().is_empty() => Ok(Self::of(&host, false)),
            _ => Err(InvalidAuthority(())),
        }
    }
}

/// The host and the port, in one pass: each call of an HTTP client does this.
fn split(authority: &str) -> (&str, Option<u16>) {
    let (mut start, mut colon, mut in_brackets) = (0, None, false);
    for (index, byte) in authority.bytes().enumerate() {
        match byte {
            b'@' => (start, colon) = (index + 1, None),
            b'[' => in_brackets = true,
            b']' => in_brackets = false,
            b':' if !in_brackets && colon.is_none() => colon = Some(index),
            _ => {}
        }
    }
    match colon {
        Some(colon) => (
            &authority[start..colon],
            authority[colon + 1..].parse().ok(),
        ),
        None => (&authority[start..], None),
    }
}

/// A host in lower case. Most are short enough to be kept without an allocation.
#[derive(Clone)]
enum Host {
    Short { length: u8, bytes: [u8; SHORT] },
    Long(Arc<str>),
}

const SHORT: usize = 46;

impl Host {
    const EMPTY: Self = Self::Short {
        length: 0,
        bytes: [0; SHORT],
    };

    fn new(host: &str) -> Self {
        let mut bytes = [0; SHORT];
        match (bytes.get_mut(..host.len()), u8::try_from(host.len())) {
            (Some(part), Ok(length)) => {
                part.copy_from_slice(host.as_bytes());
                part.make_ascii_lowercase();
                Self::Short { length, bytes }
            }
            _ => Self::Long(host.to_ascii_lowercase().into()),
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short { length, bytes } => &bytes[..usize::from(*length)],
            Self::Long(host) => host.as_bytes(),
        }
    }

    fn as_str(&self) -> &str {
        match self {
            // It was one.
            Self::Short { .. } => std::str::from_utf8(self.as_bytes()).unwrap_or_default(),
            Self::Long(host) => host,
        }
    }
}

impl PartialEq for Authority {
    fn eq(&self, other: &Self) -> bool {
        self.port == other.port && self.host.as_bytes() == other.host.as_bytes()
    }
}

impl Eq for Authority {}

impl Hash for Authority {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.host.as_bytes());
        state.write_u16(self.port);
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.shown_host().is_empty() {
            return f.write_str("unknown");
        }
        f.write_str(self.shown_host())?;
        match self.port {
            HTTPS => Ok(()),
            port => write!(f, ":{port}"),
        }
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// A text is no [`Authority`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not the host and port of a server")]
pub struct InvalidAuthority(());

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;

    fn of(uri: &str) -> Authority {
        use super::super::message::HttpRequest;
        let request = http::Request::get(uri).body(()).unwrap();
        HttpRequest::authority(&request).unwrap()
    }

    /// Equal servers are equal keys, and the text shows no secret.
    #[test]
    fn the_same_server_is_the_same_key() {
        let hasher = std::hash::RandomState::new();
        for (uri, same, shown) in [
            ("https://h/", "https://H:443/x?y", "h"),
            ("http://h/", "http://me:secret@h:80/", "h:80"),
            ("http://H:1/", "http://h:1", "h:1"),
            ("http://[::1]:1/", "http://[::1]:1/", "[::1]:1"),
            ("http://[::A]/", "http://[::a]:80/", "[::a]:80"),
            ("http://h:/", "http://me:1@h/", "h:80"),
        ] {
            let (one, other) = (of(uri), of(same));
            assert_eq!(one, other, "{uri} {same}");
            assert_eq!(hasher.hash_one(&one), hasher.hash_one(&other));
            assert_eq!(one.to_string(), shown);
            assert_eq!(other.to_string(), shown);
            assert_eq!(format!("{other:?}"), format!("{shown:?}"));
        }
    }

    /// A host of any length is found again, in lower case.
    #[test]
    fn long_hosts_are_kept_too() {
        for length in [1, SHORT - 1, SHORT, SHORT + 1, 200, 253] {
            let host = "h".repeat(length);
            let (one, other) = (
                of(&format!("https://{host}/")),
                of(&format!("https://{}:443", host.to_uppercase())),
            );
            assert_eq!(one, other);
            assert_eq!((one.host(), other.host()), (&*host, &*host));
            assert_ne!(one, of(&format!("https://{host}h/")));
        }
    }

    /// Different servers are different keys.
    #[test]
    fn other_servers_are_other_keys() {
        for (one, other) in [
            ("https://h/", "http://h/"),
            ("https://h/", "https://h:80/"),
            ("https://a.h/", "https://b.h/"),
        ] {
            assert_ne!(of(one), of(other));
        }
    }

    #[test]
    fn no_server() {
        for text in ["", ":80", "a b", "@", "http://h"] {
            assert_eq!(
                text.parse::<Authority>(),
                Err(InvalidAuthority(())),
                "{text}"
            );
        }
        assert_eq!(Authority::UNKNOWN.to_string(), "unknown");
        assert_eq!(Authority::UNKNOWN.host(), "");
    }
}
