//! config-logging: how much each component logs.

use super::{ConfigError, ConfigMap};
use std::collections::BTreeMap;

const PREFIX: &str = "loglevel.";
const LEVELS: [&str; 7] = ["debug", "info", "warn", "error", "dpanic", "panic", "fatal"];

/// The operator's log levels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logging {
    /// The level of a component by its name (`controller`, `autoscaler`, `queueproxy`, …), in small letters.
    pub levels: BTreeMap<String, String>,
    /// The configuration of Knative's own logger, JSON; queue-proxy is handed it.
    pub zap_config: String,
}

impl Logging {
    /// The level of a component; `info` unless configured.
    pub fn level(&self, component: &str) -> &str {
        self.levels.get(component).map_or("info", String::as_str)
    }
}

impl ConfigMap for Logging {
    const NAME: &'static str = "config-logging";
    const KEYS: &'static [&'static str] = &["zap-logger-config"];

    fn parse(data: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let mut config =
            Self { zap_config: data.get("zap-logger-config").cloned().unwrap_or_default(), ..Self::default() };
        for (key, level) in data {
            let Some(component) = key.strip_prefix(PREFIX).filter(|component| !component.is_empty()) else { continue };
            let known = if level.is_empty() { "info".to_owned() } else { level.to_ascii_lowercase() };
            if !LEVELS.contains(&known.as_str()) {
                return Err(ConfigError::Invalid(format!("invalid logging level: {level}")));
            }
            config.levels.insert(component.to_owned(), known);
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read() {
        let data = BTreeMap::from([
            ("loglevel.queueproxy".to_owned(), "DEBUG".to_owned()),
            ("zap-logger-config".to_owned(), "{}".to_owned()),
        ]);
        let config = Logging::parse(&data).expect("levels");
        assert_eq!((config.level("queueproxy"), config.level("controller")), ("debug", "info"));
        let data = BTreeMap::from([("loglevel.controller".to_owned(), "loud".to_owned())]);
        assert_eq!(Logging::parse(&data).expect_err("no level").to_string(), "invalid logging level: loud");
    }
}
