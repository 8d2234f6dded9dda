//! Serialization of HTTP exchanges.

use ::http::StatusCode;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Unexpected},
};

use crate::http::{Authority, HttpExchange, body::BodyEnd, known_method};

#[derive(Serialize, Deserialize)]
#[serde(remote = "HttpExchange")]
struct HttpExchangeForm {
    #[serde(deserialize_with = "method")]
    method: MethodName,
    #[serde(default, with = "authority")]
    authority: Option<Authority>,
    #[serde(default, with = "status")]
    status: Option<StatusCode>,
    #[serde(default)]
    body: Option<BodyEnd>,
}

/// Under this name the text is not borrowed from the input.
type MethodName = &'static str;

#[derive(Serialize, Deserialize)]
#[serde(remote = "BodyEnd", rename_all = "snake_case")]
enum BodyEndForm {
    Complete,
    Truncated,
    Stalled,
    Dropped,
}

is_its_form! {
    BodyEnd => BodyEndForm,
    HttpExchange => HttpExchangeForm,
}

/// A method that is not known may come from a later version.
fn method<'de, D: Deserializer<'de>>(from: D) -> Result<MethodName, D::Error> {
    String::deserialize(from).map(|name| known_method(&name))
}

mod authority {
    use super::*;

    pub(super) fn serialize<S: Serializer>(
        authority: &Option<Authority>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        authority.as_ref().map(ToString::to_string).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Authority>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        // The text is not repeated: it may contain user information.
        let parsed = text.map(|text| text.parse().map_err(D::Error::custom));
        parsed.transpose()
    }
}

mod status {
    use super::*;

    pub(super) fn serialize<S: Serializer>(
        status: &Option<StatusCode>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        status.map(|status| status.as_u16()).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<StatusCode>, D::Error> {
        let number = Option::<u16>::deserialize(from)?;
        let expected = &"a status from 100 to 999";
        let status = number.map(|number| {
            let unexpected = Unexpected::Unsigned(number.into());
            StatusCode::from_u16(number).map_err(|_| D::Error::invalid_value(unexpected, expected))
        });
        status.transpose()
    }
}
