//! The packages whose public API is checked, and what may be in it.

/// A package whose public API is checked.
#[derive(Clone, Copy, Debug)]
pub struct Package {
    /// Its name.
    pub name: &'static str,
    /// The other crates whose items its public API may name, by the crate that defines the item.
    /// The standard library is always allowed.
    pub external: &'static [&'static str],
    /// How many public types it may have with its default features: structs, enums, unions, traits
    /// and type aliases.
    pub most_types: Option<usize>,
}

/// Every package that is published.
pub const PACKAGES: &[Package] = &[
    Package {
        name: "tower-keep",
        external: &[
            "bytes",        // the data of a recorded body, behind the feature `http`
            "futures_core", // `Stream`, behind the feature `progress`
            "http",         // behind the feature `http`, as are the next one and `bytes`
            "http_body",
            "reqwest",    // behind the feature `reqwest-0-13`
            "serde_core", // what `serde` exports, behind the feature `serde`
            "tokio",
            "tokio_util", // `CancellationToken`
            "tower_layer",
            "tower_service",
            "tracing_core", // `Level`, which `tracing` exports, behind the feature `log`
        ],
        most_types: Some(100),
    },
    Package {
        name: "tower-keep-test",
        external: &[
            "bytes", // behind the feature `http`, as are the next one and `tokio`
            "http",
            "tokio",
            "tower_keep",
            "tower_layer",
            "tower_service",
        ],
        most_types: None,
    },
];

impl Package {
    /// The name of its library.
    pub fn library(&self) -> String {
        self.name.replace('-', "_")
    }

    /// The file that lists its public API, seen from the workspace.
    pub fn list(&self) -> String {
        format!("crates/{}/public-api.txt", self.name)
    }
}
