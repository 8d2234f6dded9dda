//! A private answer is never shared: random requests and answers against a model of the rules.

use std::collections::BTreeMap;

use http::{HeaderName, Request};
use proptest::{prelude::*, sample::select};
use tower::Layer;
use tower_keep::DedupLayer;

use super::{Site, answer, texts, with};

/// One field of a request, or none.
type Field = Option<(&'static str, &'static str)>;

/// A request: its key, whether it asks for its own exchange, and a header that does not count.
#[derive(Clone, Debug)]
struct Asked {
    method: &'static str,
    identity: Field,
    own: Field,
    ignored: Field,
}

impl Asked {
    fn request(&self) -> Request<String> {
        let fields: Vec<_> = [self.identity, self.own, self.ignored]
            .into_iter()
            .flatten()
            .collect();
        with(self.method, "/", &fields)
    }

    /// Whether it may share at all.
    fn shares(&self) -> bool {
        self.own.is_none() && self.method != "POST"
    }

    /// The requests with this key share.
    fn key(&self) -> String {
        format!("{} {:?}", self.method, self.identity)
    }
}

fn asked() -> impl Strategy<Value = Asked> {
    let method = select(vec!["GET", "GET", "GET", "HEAD", "POST"]);
    let identity = select(vec![
        None,
        None,
        Some(("authorization", "Bearer a")),
        Some(("authorization", "Bearer b")),
        Some(("cookie", "user=a")),
        Some(("x-api-key", "a")),
        Some(("range", "bytes=0-3")),
        Some(("if-none-match", "\"a\"")),
    ]);
    let own = select(vec![
        None,
        None,
        None,
        None,
        Some(("cache-control", "no-cache")),
        Some(("cache-control", "x, No-Store")),
        Some(("pragma", "no-cache")),
        Some(("upgrade", "websocket")),
    ]);
    let ignored = select(vec![
        None,
        Some(("x-ignored", "a")),
        Some(("x-ignored", "b")),
    ]);
    (method, identity, own, ignored).prop_map(|(method, identity, own, ignored)| Asked {
        method,
        identity,
        own,
        ignored,
    })
}

/// A field of an answer, and whether it forbids to share.
fn answer_field() -> impl Strategy<Value = (Field, bool)> {
    select(vec![
        (None, false),
        (None, false),
        (Some(("cache-control", "max-age=60")), false),
        (Some(("cache-control", "public")), false),
        (Some(("cache-control", "x=\"private\"")), false),
        (Some(("cache-control", "private")), true),
        (
            Some(("cache-control", "private=\"x-user\", max-age=60")),
            true,
        ),
        (Some(("cache-control", "NO-STORE")), true),
        (Some(("cache-control", "public, no-cache")), true),
        (Some(("cache-control", "max-age=0")), true),
        (Some(("cache-control", "\"")), true),
        (Some(("set-cookie", "user=a")), true),
        (Some(("vary", "*")), true),
        (Some(("vary", "accept, *")), true),
        (Some(("content-type", "text/event-stream")), true),
        (Some(("content-type", "text/html")), false),
    ])
}

/// The exchange of each caller, as the rules have it: callers with the same number share.
fn groups(asked: &[Asked], is_private: bool, varies: bool) -> Vec<usize> {
    let mut leaders: BTreeMap<String, usize> = BTreeMap::new();
    (0..asked.len())
        .map(|caller| {
            let request = &asked[caller];
            if !request.shares() {
                return caller;
            }
            let leader = *leaders.entry(request.key()).or_insert(caller);
            let is_selected = !varies || asked[leader].ignored == request.ignored;
            match !is_private && is_selected {
                true => leader,
                false => caller,
            }
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// R88 Callers share an exchange if, and only if, their requests are equal and the answer may be
    /// shared. Each caller gets an answer, and each exchange that was sent has a caller.
    #[test]
    fn callers_share_exactly_where_they_may(
        asked in prop::collection::vec(asked(), 1..8),
        fields in prop::collection::vec(answer_field(), 1..4),
        status in select(vec![(200, true), (404, true), (206, true), (302, false), (500, false)]),
        varies in any::<bool>(),
    ) {
        let (status, is_storable) = status;
        let has = |text| fields.iter().any(|(field, _)| field.is_some_and(|(_, value)| value == text));
        let forbids = fields.iter().any(|(_, forbids)| *forbids);
        let is_private = forbids || !(is_storable || has("max-age=60") || has("public"));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let site = Site::default();
        let mut headers: Vec<_> = fields.iter().filter_map(|(field, _)| *field).collect();
        if varies {
            headers.push(("vary", "x-ignored"));
        }
        let numbered = move |number: usize, _: &Request<String>| {
            answer(status, &headers).body(number.to_string()).unwrap()
        };
        let dedup = DedupLayer::http_get().ignore_header(HeaderName::from_static("x-ignored"));
        let mut client = dedup.layer(site.client(numbered));
        let requests = asked.iter().map(Asked::request);
        let got = runtime.block_on(texts(&mut client, requests));

        let groups = groups(&asked, is_private, varies);
        for one in 0..asked.len() {
            for other in 0..one {
                prop_assert_eq!(
                    got[one] == got[other],
                    groups[one] == groups[other],
                    "{} and {}: {:?} {:?}", one, other, got, groups
                );
            }
        }
        let answered: std::collections::BTreeSet<_> = got.iter().collect();
        prop_assert_eq!(site.exchanges(), answered.len(), "an answer was thrown away");
    }
}
