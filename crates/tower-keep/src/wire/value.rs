//! `serde(with)` modules for texts, times and durations.

/// A shared text.
pub(super) mod text {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(in crate::wire) fn serialize<S: Serializer>(
        text: &Arc<str>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_str(text)
    }

    pub(in crate::wire) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Arc<str>, D::Error> {
        String::deserialize(from).map(Into::into)
    }
}

/// An optional shared text.
pub(super) mod optional_text {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(in crate::wire) fn serialize<S: Serializer>(
        text: &Option<Arc<str>>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        text.as_deref().serialize(to)
    }

    pub(in crate::wire) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Arc<str>>, D::Error> {
        Ok(Option::<String>::deserialize(from)?.map(Into::into))
    }
}

/// A duration in milliseconds.
pub(super) mod ms {
    use std::time::Duration;

    use serde::{
        Deserialize, Deserializer, Serializer,
        de::{Error, Unexpected},
    };

    use crate::wire::number::{millis, of_millis};

    pub(in crate::wire) fn serialize<S: Serializer>(
        duration: &Duration,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_f64(millis(*duration))
    }

    pub(in crate::wire) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Duration, D::Error> {
        of_ms(f64::deserialize(from)?)
    }

    pub(super) fn of_ms<E: Error>(ms: f64) -> Result<Duration, E> {
        let expected = &"a number of milliseconds from 0 to Duration::MAX";
        of_millis(ms).ok_or_else(|| E::invalid_value(Unexpected::Float(ms), expected))
    }
}

/// An optional duration in milliseconds.
pub(super) mod optional_ms {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::wire::number::millis;

    pub(in crate::wire) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        duration.map(millis).serialize(to)
    }

    pub(in crate::wire) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        let ms = Option::<f64>::deserialize(from)?;
        ms.map(super::ms::of_ms).transpose()
    }
}

/// An instant, in milliseconds since 1970.
pub(super) mod time {
    use serde::{
        Deserialize, Deserializer, Serializer,
        de::{Error, Unexpected},
    };
    use tokio::time::Instant;

    use crate::wire::number::{of_unix_ms, unix_ms};

    pub(in crate::wire) fn serialize<S: Serializer>(
        at: &Instant,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_f64(unix_ms(*at))
    }

    pub(in crate::wire) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Instant, D::Error> {
        of_ms(f64::deserialize(from)?)
    }

    pub(super) fn of_ms<E: Error>(ms: f64) -> Result<Instant, E> {
        let expected = &"milliseconds since 1970, from -8.64e15 to 8.64e15";
        of_unix_ms(ms).ok_or_else(|| E::invalid_value(Unexpected::Float(ms), expected))
    }
}

/// An optional instant.
#[cfg(feature = "progress")]
pub(super) mod optional_time {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use tokio::time::Instant;

    use crate::wire::number::unix_ms;

    pub(in crate::wire) fn serialize<S: Serializer>(
        at: &Option<Instant>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        at.map(unix_ms).serialize(to)
    }

    pub(in crate::wire) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Instant>, D::Error> {
        let ms = Option::<f64>::deserialize(from)?;
        ms.map(super::time::of_ms).transpose()
    }
}
