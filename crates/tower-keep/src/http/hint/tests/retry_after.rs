//! Tests of `Retry-After`: RFC 9110, section 10.2.3.

use super::*;

fn after(value: impl AsRef<[u8]>) -> Option<Hint> {
    hint(&headers(&[("retry-after", value)]))
}

#[test]
fn seconds() {
    let table: [(&str, u64); 10] = [
        ("0", 0),
        ("1", 1),
        ("120", 120),
        ("007", 7),
        (" 3", 3),
        ("3 ", 3),
        ("\t3 \t", 3),
        ("18446744073709551615", u64::MAX),
        // Beyond the range: not sooner.
        ("18446744073709551616", u64::MAX),
        ("99999999999999999999999999999999999999999", u64::MAX),
    ];
    for (value, expected) in table {
        assert_eq!(after(value), Some(Hint::Wait(secs(expected))), "{value:?}");
    }
}

#[test]
fn what_is_not_valid_is_ignored() {
    let table: [&[u8]; 22] = [
        b"",
        b" ",
        b"-1",
        b"+3",
        b"1.5",
        b"3 s",
        b"3s",
        b"1 2",
        b"1,2",
        b"0x10",
        b"1e3",
        b"soon",
        b"\xff\xfe",
        b"5\xff",
        // ARABIC-INDIC DIGIT THREE
        b"\xd9\xa3",
        b"Sun, 06 Nov 1994 08:49:37 UTC",
        b"Sun, 06 Nov 1994 08:49:37",
        b"Sun, 31 Feb 1994 08:49:37 GMT",
        b"Sun, 06 Nov 1994 24:49:37 GMT",
        b"1994-11-06T08:49:37Z",
        b"Sun, 06 Nov 199999 08:49:37 GMT",
        b", , , , , , , , , , , , , , ,",
    ];
    for value in table {
        assert_eq!(after(value), None, "{}", value.escape_ascii());
    }
}

#[test]
fn dates_in_each_form() {
    let table = [
        DATE_OF_RFC,
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        " \tSun, 06 Nov 1994 08:49:37 GMT\t",
    ];
    for value in table {
        let expected = Hint::at_unix_seconds(EPOCH_OF_RFC);
        assert_eq!(after(value), Some(expected), "{value:?}");
        let dated = |date| headers(&[("retry-after", value), ("date", date)]);
        let before = dated("Sun, 06 Nov 1994 08:48:37 GMT");
        assert_eq!(delay(&before), Some(secs(60)), "{value:?}");
        let past = dated("Sun, 06 Nov 1994 08:49:38 GMT");
        assert_eq!(delay(&past), Some(Duration::ZERO), "{value:?}");
    }
    // Long ago by our clock, too.
    let undated = headers(&[("retry-after", DATE_OF_RFC)]);
    assert_eq!(delay(&undated), Some(Duration::ZERO));
    let last = after("Fri, 31 Dec 9999 23:59:59 GMT").unwrap();
    assert!(last.delay(&HeaderMap::new()) > Some(secs(1 << 37)));
}

/// Whatever their order and their forms are.
#[test]
fn the_longest_of_several_fields_counts() {
    let date = ("date", DATE_OF_RFC);
    let in_a_minute = "Sun, 06 Nov 1994 08:50:37 GMT";
    let table: [(&[&str], u64); 6] = [
        (&["5", "7"], 7),
        (&["7", "5"], 7),
        (&["5", "nonsense", "-9"], 5),
        (&["59", in_a_minute], 60),
        (&[in_a_minute, "61"], 61),
        (&["0", DATE_OF_RFC], 0),
    ];
    for (values, expected) in table {
        let mut fields = vec![date];
        fields.extend(values.iter().map(|value| ("retry-after", *value)));
        let headers = headers(&fields);
        assert_eq!(delay(&headers), Some(secs(expected)), "{values:?}");
    }
}
