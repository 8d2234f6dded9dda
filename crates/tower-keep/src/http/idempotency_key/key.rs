//! `IdempotencyKey`, and where the keys come from.

use std::{
    fmt,
    hash::{BuildHasher, Hasher, RandomState},
    process,
    str::FromStr,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use http::HeaderValue;

/// The key of one call: a text that no other call of this client to this server has.
///
/// ```
/// use tower_keep::http::idempotency_key::IdempotencyKey;
///
/// let own: IdempotencyKey = "order-17".parse()?;
/// assert_eq!(own.to_string(), "order-17");
/// assert_ne!(IdempotencyKey::random(), IdempotencyKey::random());
/// assert!("two words".parse::<IdempotencyKey>().is_err());
/// # Ok::<(), tower_keep::http::idempotency_key::InvalidIdempotencyKey>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(Bytes);

impl IdempotencyKey {
    /// A random key: a UUID of version 4, with 122 random bits.
    ///
    /// The randomness is the operating system's, as for the hash maps of std. It cannot be seeded.
    #[must_use]
    pub fn random() -> Self {
        Self(Bytes::copy_from_slice(&uuid(random_bits())))
    }

    /// The key as text, without quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only visible ASCII gets in.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The value of the header without quotes.
    pub(super) fn bare(self) -> HeaderValue {
        header_value(self.0)
    }

    /// The value of the header as a String of RFC 9651, with quotes.
    pub(super) fn quoted(&self) -> HeaderValue {
        let escaped = (self.0.iter()).filter(|byte| is_escaped(**byte)).count();
        let mut quoted = Vec::with_capacity(self.0.len() + escaped + 2);
        quoted.push(b'"');
        for &byte in &self.0 {
            if is_escaped(byte) {
                quoted.push(b'\\');
            }
            quoted.push(byte);
        }
        quoted.push(b'"');
        header_value(quoted.into())
    }
}

fn is_escaped(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\')
}

fn header_value(text: Bytes) -> HeaderValue {
    match HeaderValue::from_maybe_shared(text) {
        Ok(value) => value,
        Err(_) => unreachable!("a key has only visible ASCII characters"),
    }
}

impl FromStr for IdempotencyKey {
    type Err = InvalidIdempotencyKey;

    fn from_str(text: &str) -> Result<Self, InvalidIdempotencyKey> {
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for IdempotencyKey {
    type Error = InvalidIdempotencyKey;

    fn try_from(text: String) -> Result<Self, InvalidIdempotencyKey> {
        let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        match is_visible && !text.is_empty() {
            true => Ok(Self(text.into())),
            false => Err(InvalidIdempotencyKey(())),
        }
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text is no [`IdempotencyKey`]: it is empty, or has a character that is not visible ASCII.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an idempotency key has at least one character, and only visible ASCII characters")]
pub struct InvalidIdempotencyKey(());

/// Two independent keyed hashes of a number that no other call of any process has.
fn random_bits() -> [u8; 16] {
    // Each `RandomState` has its own secret key. The process id keeps a forked child, which
    // inherits the keys and the counter, apart from its parent.
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let half = || {
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u64(call);
        hasher.write_u32(process::id());
        hasher.finish()
    };
    let mut bits = [0; 16];
    bits[..8].copy_from_slice(&half().to_be_bytes());
    bits[8..].copy_from_slice(&half().to_be_bytes());
    bits
}

/// The text of a UUID of version 4 with these bits.
fn uuid(mut bits: [u8; 16]) -> [u8; 36] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bits[6] = bits[6] & 0x0f | 0x40;
    bits[8] = bits[8] & 0x3f | 0x80;
    let mut text = [b'-'; 36];
    let mut at = 0;
    for (index, byte) in bits.into_iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            at += 1;
        }
        text[at] = DIGITS[usize::from(byte >> 4)];
        text[at + 1] = DIGITS[usize::from(byte & 0x0f)];
        at += 2;
    }
    text
}

/// Where the key of a request comes from.
#[diagnostic::on_unimplemented(
    message = "the closure given to `key_with` does not take `&{Request}`",
    label = "the service takes `{Request}`",
    note = "the closure has to be an `Fn(&{Request}) -> Option<IdempotencyKey>`"
)]
pub trait KeySource<Request>: sealed::Sealed {
    /// The key for this request; `None` sends the request without a key.
    fn key(&self, request: &Request) -> Option<IdempotencyKey>;
}

/// A random key for each call. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomKey;

impl<Request> KeySource<Request> for RandomKey {
    fn key(&self, _: &Request) -> Option<IdempotencyKey> {
        Some(IdempotencyKey::random())
    }
}

/// The key of a closure. Made by
/// [`IdempotencyKeyLayer::key_with`](super::IdempotencyKeyLayer::key_with).
#[derive(Clone, Copy)]
pub struct KeyWith<F>(pub(super) F);

#[diagnostic::do_not_recommend]
impl<F, Request> KeySource<Request> for KeyWith<F>
where
    F: Fn(&Request) -> Option<IdempotencyKey>,
{
    fn key(&self, request: &Request) -> Option<IdempotencyKey> {
        (self.0)(request)
    }
}

impl<F> fmt::Debug for KeyWith<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyWith").finish_non_exhaustive()
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::RandomKey {}
    impl<F> Sealed for super::KeyWith<F> {}
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_random_key_is_a_uuid() {
        assert_eq!(&uuid([0; 16]), b"00000000-0000-4000-8000-000000000000");
        assert_eq!(&uuid([0xff; 16]), b"ffffffff-ffff-4fff-bfff-ffffffffffff");
        let bits = std::array::from_fn(|n| n as u8 * 0x11);
        assert_eq!(&uuid(bits), b"00112233-4455-4677-8899-aabbccddeeff");
    }

    /// Keys of several threads differ, in both halves, and every free bit is used.
    #[test]
    fn random_keys_differ() {
        let threads: Vec<_> = (0..4)
            .map(|_| std::thread::spawn(|| (0..5000).map(|_| random_bits()).collect::<Vec<_>>()))
            .collect();
        let keys: Vec<_> = (threads.into_iter())
            .flat_map(|thread| thread.join().unwrap())
            .collect();
        let high: HashSet<_> = keys.iter().map(|key| &key[..8]).collect();
        let low: HashSet<_> = keys.iter().map(|key| &key[8..]).collect();
        assert_eq!((high.len(), low.len()), (20_000, 20_000));
        for byte in 0..16 {
            for bit in 0..8 {
                let set = keys.iter().filter(|key| key[byte] >> bit & 1 == 1).count();
                // More than 14 standard deviations around one half.
                assert!((9_000..11_000).contains(&set), "{byte} {bit} {set}");
            }
        }
    }

    #[test]
    fn quotes_are_escaped() {
        let key: IdempotencyKey = r#"a"b\c"#.parse().unwrap();
        assert_eq!(key.quoted(), r#""a\"b\\c""#);
        assert_eq!(key.bare(), r#"a"b\c"#);
    }

    #[test]
    fn bad_texts_are_no_keys() {
        for text in ["", " ", "a b", "a\n", "\u{e9}", "\u{7f}", "\0"] {
            assert!(text.parse::<IdempotencyKey>().is_err(), "{text:?}");
        }
    }
}
