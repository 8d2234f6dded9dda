//! The code of the recipes, as it stands in the README.

pub(crate) mod axum_recipe;
pub(crate) mod bounded_shutdown;
pub(crate) mod dispatch_recipe;
pub(crate) mod hyper_recipe;
pub(crate) mod reqwest_recipe;
