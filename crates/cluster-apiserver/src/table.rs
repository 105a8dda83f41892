//! Stand-in until the module of this name lands as a directory; that change deletes this file.

use base_rt::Timestamp;
use serde_json::{Value, json};

use crate::kinds::Kind;

/// The columns.
pub fn columns(_kind: &Kind) -> Value {
    json!([{"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0}, {"name": "Age", "type": "string", "format": "", "description": "", "priority": 0}])
}

/// The cells.
pub fn cells(_kind: &Kind, object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        object["metadata"]["name"].clone(),
        age(object["metadata"]["creationTimestamp"].as_str().unwrap_or_default(), now).into(),
    ]
}

/// An age.
pub fn age(time: &str, now: Timestamp) -> String {
    time.parse::<Timestamp>().map_or("<unknown>".to_owned(), |time| format!("{}s", now.as_second() - time.as_second()))
}
