//! The configuration file as serde reads it: the shape is right, the values are not checked yet.

use serde::Deserialize;
use toml::Spanned;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    pub(super) interfaces: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) mode: Option<Spanned<String>>,
    pub(super) socket: Option<Spanned<String>>,
    pub(super) pin: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) tables: Tables,
    #[serde(default)]
    pub(super) limits: Limits,
    #[serde(default)]
    pub(super) service: Vec<Spanned<Service>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tables {
    pub(super) flows: Option<Spanned<i64>>,
    pub(super) real_servers: Option<Spanned<i64>>,
    pub(super) services: Option<Spanned<i64>>,
    pub(super) lookup: Option<Spanned<i64>>,
    pub(super) vips: Option<Spanned<i64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    pub(super) icmp_per_second: Option<Spanned<i64>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Service {
    pub(super) address: Spanned<String>,
    pub(super) scheduler: Option<Spanned<String>>,
    pub(super) scheduler_flags: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) table_size: Option<Spanned<i64>>,
    #[serde(default)]
    pub(super) server: Vec<Spanned<Server>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Server {
    pub(super) address: Spanned<String>,
    pub(super) weight: Option<Spanned<i64>>,
}
