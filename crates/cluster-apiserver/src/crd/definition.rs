//! What a CRD object defines: names, and a compiled version for each that is served.

use serde_json::Value;

use super::conversion::Conversion;
use super::custom::{CustomVersion, PrinterColumn, SelectableField, shape};
use super::scale::ScalePaths;
use crate::schema::Schema;
use crate::store::TableName;
use crate::value::{at, bool_at, i64_at, list_at, str_at, strings_at};

/// The names of a custom resource, whatever the version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) group: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) kind: String,
    pub(crate) list_kind: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) is_namespaced: bool,
}

impl Names {
    /// Where instances are kept.
    pub(crate) fn table(&self) -> TableName {
        TableName::new(&self.plural, &self.group)
    }

    /// The names that a CRD asks for.
    pub(crate) fn of(crd: &Value) -> Self {
        Self::read(crd, &crd["spec"]["names"])
    }

    /// The names that a CRD has got.
    pub(super) fn accepted(crd: &Value) -> Self {
        Self::read(crd, &crd["status"]["acceptedNames"])
    }

    fn read(crd: &Value, names: &Value) -> Self {
        let spec = &crd["spec"];
        let text = |name: &str| str_at(names, &[name]).to_owned();
        let texts = |name: &str| strings_at(names, &[name]).into_iter().map(str::to_owned).collect();
        Self {
            group: str_at(spec, &["group"]).to_owned(),
            plural: text("plural"),
            singular: text("singular"),
            kind: text("kind"),
            list_kind: text("listKind"),
            short_names: texts("shortNames"),
            categories: texts("categories"),
            is_namespaced: str_at(spec, &["scope"]) == "Namespaced",
        }
    }
}

/// A CRD, compiled.
#[derive(Debug)]
pub(crate) struct Definition {
    pub(crate) names: Names,
    /// Those that are served, in the order that discovery prefers.
    pub(crate) versions: Vec<CustomVersion>,
    /// How objects go from one to another, if there are several, and the version that is kept then.
    pub(crate) conversion: Option<(Conversion, CustomVersion)>,
}

impl Definition {
    /// Compiles the served versions, and the one that is kept if that matters.
    pub(crate) fn compile(crd: &Value) -> Self {
        let names = Names::of(crd);
        let served = list_at(crd, &["spec", "versions"]).iter().filter(|v| bool_at(v, &["served"]) == Some(true));
        let mut versions: Vec<CustomVersion> = served.map(|version| compile_version(&names, version)).collect();
        recommend(&mut versions, &names);
        versions.sort_by(|a, b| prefer(&a.name, &b.name));
        let is_storage = |version: &&Value| bool_at(version, &["storage"]) == Some(true);
        let storage = list_at(crd, &["spec", "versions"]).iter().find(is_storage);
        let conversion = Conversion::of(crd).zip(storage.map(|version| compile_version(&names, version)));
        Self { names, versions, conversion }
    }
}

/// The warning of a version that should not be used any more ends with a better one, if there is one and it has no text of its own.
fn recommend(versions: &mut [CustomVersion], names: &Names) {
    let sound = versions.iter().filter(|version| version.deprecation.is_none()).map(|version| version.name.clone());
    let Some(best) = sound.min_by(|a, b| prefer(a, b)) else { return };
    for version in versions {
        let is_better = prefer(&best, &version.name) == std::cmp::Ordering::Less;
        if let Some(text) =
            version.deprecation.as_mut().filter(|text| is_better && **text == deprecated(names, &version.name))
        {
            text.push_str(&format!("; use {}/{best} {}", names.group, names.kind));
        }
    }
}

fn deprecated(names: &Names, version: &str) -> String {
    format!("{}/{version} {} is deprecated", names.group, names.kind)
}

/// Whether the CRD's condition `kind` is True.
pub(crate) fn has_condition(crd: &Value, kind: &str) -> bool {
    let conditions = list_at(crd, &["status", "conditions"]);
    conditions.iter().any(|c| str_at(c, &["type"]) == kind && str_at(c, &["status"]) == "True")
}

/// What tells one spec of one CRD from another.
pub(crate) fn edition(crd: &Value) -> (String, i64) {
    (str_at(crd, &["metadata", "uid"]).to_owned(), i64_at(crd, &["metadata", "generation"]).unwrap_or_default())
}

fn compile_version(names: &Names, version: &Value) -> CustomVersion {
    let raw = at(version, &["schema", "openAPIV3Schema"]);
    let schema = raw.map_or_else(Schema::anything, Schema::parse);
    let scale = at(version, &["subresources", "scale"]).map(|scale| ScalePaths {
        spec_replicas: str_at(scale, &["specReplicasPath"]).to_owned(),
        status_replicas: str_at(scale, &["statusReplicasPath"]).to_owned(),
        selector: str_at(scale, &["labelSelectorPath"]).to_owned(),
    });
    let columns = list_at(version, &["additionalPrinterColumns"]).iter().map(|column| PrinterColumn {
        name: str_at(column, &["name"]).to_owned(),
        kind: str_at(column, &["type"]).to_owned(),
        format: str_at(column, &["format"]).to_owned(),
        description: str_at(column, &["description"]).to_owned(),
        priority: i64_at(column, &["priority"]).unwrap_or_default(),
        path: str_at(column, &["jsonPath"]).to_owned(),
    });
    let selectable = list_at(version, &["selectableFields"]).iter().map(|field| {
        let path = str_at(field, &["jsonPath"]);
        SelectableField { field: path.trim_start_matches('.').to_owned(), path: path.to_owned() }
    });
    let deprecation = (bool_at(version, &["deprecated"]) == Some(true)).then(|| {
        let name = str_at(version, &["name"]);
        let text = at(version, &["deprecationWarning"]).and_then(Value::as_str);
        text.map_or_else(|| deprecated(names, name), str::to_owned)
    });
    CustomVersion {
        name: str_at(version, &["name"]).to_owned(),
        kind: names.kind.clone(),
        api_version: format!("{}/{}", names.group, str_at(version, &["name"])),
        schema,
        shape: shape(str_at(version, &["name"]), raw),
        has_status: at(version, &["subresources", "status"]).is_some(),
        scale,
        columns: columns.collect(),
        selectable: selectable.collect(),
        deprecation,
    }
}

/// Kubernetes' order of versions: v2, v1, v2beta1, v1beta1, v1alpha1, then anything else by name.
pub(crate) fn prefer(a: &str, b: &str) -> std::cmp::Ordering {
    match (rank(a), rank(b)) {
        (Some(a), Some(b)) => b.cmp(&a),
        (Some(_), None) => std::cmp::Ordering::Less,
        (None, Some(_)) => std::cmp::Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// Stability, major and minor number of a version such as `v1beta2`.
fn rank(version: &str) -> Option<(u8, u32, u32)> {
    let rest = version.strip_prefix('v')?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (major, rest) = rest.split_at(digits);
    let major = major.parse().ok()?;
    let (stability, minor) = match rest {
        "" => return Some((2, major, 0)),
        _ => match rest.strip_prefix("beta") {
            Some(minor) => (1, minor),
            None => (0, rest.strip_prefix("alpha")?),
        },
    };
    Some((stability, major, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_in_kubernetes_order() {
        let mut versions =
            ["v1alpha1", "foo1", "v1", "v11alpha2", "v10", "v2", "v1beta1", "v3beta1", "foo10", "v12alpha1"];
        versions.sort_by(|a, b| prefer(a, b));
        assert_eq!(
            versions,
            ["v10", "v2", "v1", "v3beta1", "v1beta1", "v12alpha1", "v11alpha2", "v1alpha1", "foo1", "foo10"]
        );
    }

    #[test]
    fn a_shape_follows_the_schema_and_is_never_zero() {
        let a = serde_json::json!({"type": "object"});
        assert_eq!(shape("v1", Some(&a)), shape("v1", Some(&a.clone())));
        assert_ne!(shape("v1", Some(&a)), shape("v1", None));
        assert_ne!(shape("v1", None), shape("v2", None));
        assert_ne!(shape("v1", None), 0);
    }
}
