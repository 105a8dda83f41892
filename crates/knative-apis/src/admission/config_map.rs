//! The webhook of Knative's ConfigMaps: a broken one is refused before it can be read.

use super::{CONFIG_WEBHOOK, Denied};
use crate::config::{EXAMPLE_KEY, check, is_knatives};
use crate::go_text::quote;
use serde_json::Value;
use std::collections::BTreeMap;

/// Where the checksum of the example stands.
const CHECKSUM_ANNOTATION: &str = "knative.dev/example-checksum";

/// Looks at a ConfigMap of the system namespace; one that is not Knative's is accepted.
///
/// # Errors
/// A value that cannot be is refused with Knative's text; so is an edit of the example, which is
/// most often meant for the data beside it.
pub fn validate_config_map(name: &str, object: &Value) -> Result<(), Denied> {
    let denied = |problem: String| Denied::new(CONFIG_WEBHOOK, format!("validation failed: {problem}"));
    if !is_knatives(name) {
        return Ok(());
    }
    let data = texts(object.get("data")).map_err(denied)?;
    let annotations = texts(object.pointer("/metadata/annotations")).map_err(denied)?;
    if let (Some(example), Some(checksum)) = (data.get(EXAMPLE_KEY), annotations.get(CHECKSUM_ANNOTATION))
        && example_checksum(example) != *checksum
    {
        return Err(denied(format!(
            "the update modifies a key in {} which is probably not what you want. Instead, copy the respective setting \
             to the top-level of the ConfigMap, directly below {}",
            quote(EXAMPLE_KEY),
            quote("data")
        )));
    }
    check(name, &data).map_err(|error| denied(error.to_string()))
}

fn texts(map: Option<&Value>) -> Result<BTreeMap<String, String>, String> {
    match map {
        None | Some(Value::Null) => Ok(BTreeMap::new()),
        Some(map) => {
            serde_json::from_value(map.clone()).map_err(|error| format!("cannot decode incoming new object: {error}"))
        }
    }
}

/// The checksum that Knative's manifests carry: CRC-32 of the example with line breaks collapsed.
pub fn example_checksum(example: &str) -> String {
    let mut text = String::with_capacity(example.len());
    let mut in_break = false;
    for c in example.trim().replace("\r\n", "\n").chars() {
        match (c, in_break) {
            ('\n', true) => {}
            // Knative's replacement is a backslash and an n.
            ('\n', false) => {
                text.push_str("\\n");
                in_break = true;
            }
            (c, _) => {
                text.push(c);
                in_break = false;
            }
        }
    }
    format!("{:08x}", crc32(text.as_bytes()))
}

/// CRC-32 with the polynomial of IEEE 802.3.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _: u32| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_checksum_is_knatives() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(example_checksum("  a\n\nb \n"), format!("{:08x}", crc32(b"a\\nb")));
    }

    #[test]
    fn a_broken_value_is_refused() {
        let map = json!({"data": {"stable-window": "3s"}});
        let denied = validate_config_map("config-autoscaler", &map).expect_err("too short");
        assert_eq!(
            denied.to_string(),
            "admission webhook \"config.webhook.serving.knative.dev\" denied the request: validation failed: \
             stable-window = 3s, must be in [6s; 1h0m0s] range"
        );
        assert_eq!(validate_config_map("config-other", &map), Ok(()));
        assert_eq!(validate_config_map("config-gc", &json!({"metadata": {}})), Ok(()));
        assert!(validate_config_map("config-domain", &json!({"data": {"a.b": "selector: ["}})).is_err());
    }

    #[test]
    fn an_edited_example_is_refused() {
        let map = |text: &str| {
            json!({
                "metadata": {"annotations": {"knative.dev/example-checksum": example_checksum("a: b")}},
                "data": {"_example": text},
            })
        };
        assert_eq!(validate_config_map("config-gc", &map("\na: b\n")), Ok(()));
        let text = validate_config_map("config-gc", &map("a: c")).expect_err("edited").to_string();
        assert!(
            text.contains("the update modifies a key in \"_example\" which is probably not what you want"),
            "{text}"
        );
    }
}
