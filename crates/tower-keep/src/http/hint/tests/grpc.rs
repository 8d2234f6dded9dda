//! Tests of the hints of gRPC.

use super::{encoder::*, *};

const INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

fn details(value: impl AsRef<[u8]>) -> Option<Hint> {
    hint(&headers(&[("grpc-status-details-bin", value)]))
}

fn wait(seconds: u64, nanos: u32) -> Option<Hint> {
    Some(Hint::Wait(Duration::new(seconds, nanos)))
}

#[test]
fn a_pushback_of_milliseconds() {
    let table: [(&[u8], Hint); 14] = [
        (b"0", Hint::Wait(Duration::ZERO)),
        (b"1", Hint::Wait(Duration::from_millis(1))),
        (b"1500", Hint::Wait(Duration::from_millis(1500))),
        (b" 20\t", Hint::Wait(Duration::from_millis(20))),
        (
            b"18446744073709551616",
            Hint::Wait(Duration::from_millis(u64::MAX)),
        ),
        (b"-1", Hint::Never),
        (b"-0", Hint::Never),
        (b"+1", Hint::Never),
        (b"1.5", Hint::Never),
        (b"1s", Hint::Never),
        (b"", Hint::Never),
        (b"never", Hint::Never),
        (b"1,2", Hint::Never),
        (b"\xff", Hint::Never),
    ];
    for (value, expected) in table {
        let headers = headers(&[("grpc-retry-pushback-ms", value)]);
        assert_eq!(hint(&headers), Some(expected), "{}", value.escape_ascii());
    }
    for values in [["1", "1"], ["1", "-1"], ["-1", "1"]] {
        let fields = values.map(|value| ("grpc-retry-pushback-ms", value));
        assert_eq!(hint(&headers(&fields)), Some(Hint::Never), "{values:?}");
    }
}

/// What protobuf's own encoder writes, not ours.
#[test]
fn details_of_real_servers() {
    // 1.5 s.
    let padded = "CA4SBGJ1c3kaNgoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIK\
                  CggIARCAyrXuAQ==";
    let bare = padded.trim_end_matches('=');
    // 30.25 s, after a detail of another type.
    let second = "CA4SBGJ1c3kaSAoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLkVycm9ySW5mbxIcCgVR\
                  VU9UQRILZXhhbXBsZS5jb20aBgoBYRIBYho1Cih0eXBlLmdvb2dsZWFwaXMuY29tL2dvb2dsZS5y\
                  cGMuUmV0cnlJbmZvEgkKBwgeEIDlmnc=";
    // -2.5 s.
    let negative = "CA4SBGJ1c3kaRAoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mb\
                    xIYChYI/v//////////ARCAtsqR/v////8B";
    let zero = "CA4SBGJ1c3kaLgoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxICCgA=";
    assert_eq!(details(padded), wait(1, 500_000_000));
    assert_eq!(details(bare), wait(1, 500_000_000));
    assert_eq!(details(second), wait(30, 250_000_000));
    assert_eq!(details(negative), None);
    assert_eq!(details(zero), wait(0, 0));
}

#[test]
fn durations() {
    let table: [((i64, i32), Option<Hint>); 14] = [
        ((0, 0), wait(0, 0)),
        ((5, 0), wait(5, 0)),
        ((0, 1), wait(0, 1)),
        ((0, 250_000_000), wait(0, 250_000_000)),
        ((5, 999_999_999), wait(5, 999_999_999)),
        // Not valid, but clear.
        ((1, -1), wait(0, 999_999_999)),
        ((0, 1_500_000_000), wait(1, 500_000_000)),
        ((-1, 1_000_000_000), wait(0, 0)),
        ((i64::MAX, i32::MAX), wait(i64::MAX as u64 + 2, 147_483_647)),
        // Negative.
        ((-1, 0), None),
        ((0, -1), None),
        ((-1, 999_999_999), None),
        ((1, -1_000_000_001), None),
        ((i64::MIN, i32::MIN), None),
    ];
    for ((seconds, nanos), expected) in table {
        for text in [
            padded(&status(&[(seconds, nanos)])),
            unpadded(&status(&[(seconds, nanos)])),
        ] {
            assert_eq!(details(&text), expected, "{seconds} s, {nanos} ns, {text}");
        }
    }
}

#[test]
fn the_longest_of_several_delays_counts() {
    let two = |first, second| padded(&status(&[(first, 0), (second, 0)]));
    assert_eq!(details(two(3, 4)), wait(4, 0));
    assert_eq!(details(two(4, 3)), wait(4, 0));
    assert_eq!(details(two(-4, 3)), wait(3, 0));
    let one = |seconds| padded(&status(&[(seconds, 0)]));
    for joined in [",", ", ", " ,\t"] {
        let value = [one(3), one(5), one(4)].join(joined);
        assert_eq!(details(&value), wait(5, 0), "{value}");
    }
    let fields = [3, 5, 4].map(|seconds| ("grpc-status-details-bin", one(seconds)));
    assert_eq!(hint(&headers(&fields)), wait(5, 0));
}

/// Messages without a delay in a `RetryInfo`.
#[test]
fn other_details_say_nothing() {
    let delay = bytes(1, &number(1, 5));
    let table = [
        vec![],
        number(3, 5),
        bytes(3, &[]),
        bytes(3, &bytes(2, &delay)),
        bytes(3, &bytes(1, INFO.as_bytes())),
        bytes(3, &any(INFO, &[])),
        bytes(3, &any(INFO, &number(1, 5))),
        bytes(3, &any(INFO, &bytes(2, &number(1, 5)))),
        bytes(3, &any("type.googleapis.com/google.rpc.RetryInfos", &delay)),
        bytes(
            3,
            &any("type.googleapis.com/a.google.rpc.RetryInfo", &delay),
        ),
        bytes(3, &any("google.rpc.RetryInfo/", &delay)),
        bytes(2, &any(INFO, &delay)),
        bytes(4, &any(INFO, &delay)),
    ];
    for status in table {
        assert_eq!(details(padded(&status)), None, "{}", status.escape_ascii());
    }
}

/// What is unusual, but protobuf: the order, unknown fields, parts that are merged, other hosts.
#[test]
fn unusual_messages() {
    let delay = bytes(1, &number(1, 5));
    let url = bytes(1, INFO.as_bytes());
    let detail = any(INFO, &delay);
    // A fixed64 and a fixed32, whose bytes look like other fields.
    let fixed = [
        &varint(9 * 8 + 1)[..],
        &[0x1a; 8],
        &varint(9 * 8 + 5),
        &[0x1a; 4],
    ]
    .concat();
    let with_all = |message: &[u8]| [&fixed[..], &number(9, -1), &bytes(9, b"x"), message].concat();
    let table = [
        bytes(3, &[bytes(2, &delay), url.clone()].concat()),
        bytes(3, &any("example.com/a/google.rpc.RetryInfo", &delay)),
        bytes(3, &any("google.rpc.RetryInfo", &delay)),
        with_all(&bytes(
            3,
            &with_all(&any(INFO, &with_all(&bytes(1, &with_all(&number(1, 5)))))),
        )),
        // The last one counts.
        bytes(
            3,
            &[bytes(1, b"x/y"), bytes(2, b"x"), detail.clone()].concat(),
        ),
        bytes(
            3,
            &any(INFO, &bytes(1, &[number(1, 9), number(1, 5)].concat())),
        ),
        // Two parts of one message.
        bytes(3, &any(INFO, &[delay.clone(), bytes(1, &[])].concat())),
        // A number may be longer than it needs to be.
        bytes(3, &any(INFO, &bytes(1, &[8, 0x85, 0x80, 0]))),
    ];
    for status in table {
        assert_eq!(
            details(padded(&status)),
            wait(5, 0),
            "{}",
            status.escape_ascii()
        );
    }
    let parts = [bytes(1, &number(1, 5)), bytes(1, &number(2, 7))].concat();
    assert_eq!(details(padded(&bytes(3, &any(INFO, &parts)))), wait(5, 7));
    // A type that has no bytes cannot hold a detail.
    assert_eq!(
        details(padded(&[&varint(3 * 8 + 1)[..], &[0; 8]].concat())),
        None
    );
}

/// Where a message is cut or broken, what came before counts.
#[test]
fn broken_messages() {
    let whole = bytes(3, &retry_info(5, 0));
    for rest in [
        // Cut: a tag, a number, a length, bytes, fixed values.
        &[0x80][..],
        &[0x08],
        &[0x08, 0x80],
        &[0x1a],
        &[0x1a, 2, 0],
        &[0x09, 0, 0, 0, 0, 0, 0, 0],
        &[0x0d, 0, 0, 0],
        // A length beyond any memory.
        &[
            0x1a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1,
        ],
        // A number of eleven bytes.
        &[
            0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0,
        ],
        // Groups, and unknown types.
        &[0x0b],
        &[0x0c],
        &[0x0e],
        &[0x0f],
    ] {
        let before = [&whole[..], rest].concat();
        assert_eq!(
            details(padded(&before)),
            wait(5, 0),
            "{}",
            rest.escape_ascii()
        );
        // Nothing after it is read, even if it looks whole.
        assert_eq!(details(padded(rest)), None, "{}", rest.escape_ascii());
    }
    let after_group = [&[0x0b][..], &whole].concat();
    assert_eq!(details(padded(&after_group)), None);
    for end in 0..whole.len() {
        assert_eq!(details(padded(&whole[..end])), None, "cut at {end}");
    }
}

#[test]
fn what_is_no_base64_is_ignored() {
    let good = padded(&status(&[(5, 0)]));
    assert_eq!(details(&good), wait(5, 0));
    let bare = good.trim_end_matches('=');
    let table: [String; 9] = [
        String::new(),
        "=".into(),
        "====".into(),
        "A".into(),
        format!("{}\u{fc}{bare}", &good[..4]),
        format!("-{bare}"),
        format!("_{bare}"),
        format!("{}={}", &bare[..8], &bare[8..]),
        format!("{} {}", &bare[..8], &bare[8..]),
    ];
    for value in table {
        assert_eq!(details(&value), None, "{value:?}");
    }
    for text in ["A", "AAAAA", "AAAA=A", "AA.A"] {
        assert_eq!(base64::decode(text.as_bytes()), None, "{text}");
    }
    for (text, bytes) in [
        ("AA", &[0][..]),
        ("AA=", &[0]),
        ("AA==", &[0]),
        // Bits that fill up.
        ("AP", &[0]),
        ("AAAA", &[0, 0, 0]),
        ("+/+/", &[0xfb, 0xff, 0xbf]),
        ("AZaz09", &[0x01, 0x96, 0xb3, 0xd3]),
    ] {
        assert_eq!(
            base64::decode(text.as_bytes()).as_deref(),
            Some(bytes),
            "{text}"
        );
    }
}
