//! Texts as Knative prints them.

use super::*;

#[test]
fn paths_are_made_from_the_inside_out() {
    let error = missing_field("bar").via_index(0).via_field("foo");
    assert_eq!(error.to_string(), "missing field(s): foo[0].bar");
    let error = missing_field(CURRENT_FIELD).via_index(0).via_field("foo");
    assert_eq!(error.to_string(), "missing field(s): foo[0]");
    let error = missing_field("bar").via_index(0).via_index(1).via_field("foo");
    assert_eq!(error.to_string(), "missing field(s): foo[1][0].bar");
    let error = missing_field(CURRENT_FIELD).via_field("bar").via_field("foo").via_index(0);
    assert_eq!(error.to_string(), "missing field(s): [0].foo.bar");
    let error = invalid_array_value("x", "tag", 2).via_field("traffic");
    assert_eq!(error.to_string(), "invalid value: x: traffic.tag[2]");
}

#[test]
fn a_key_with_dots_stays_as_it_is() {
    let error = invalid_value("x", CURRENT_FIELD).via_key("a.b/c-d").via_field("metadata.annotations");
    assert_eq!(error.to_string(), "invalid value: x: metadata.annotations.[a.b/c-d]");
    let error = invalid_value("x", CURRENT_FIELD).via_key("plain").via_field("annotations");
    assert_eq!(error.to_string(), "invalid value: x: annotations[plain]");
}

#[test]
fn equal_messages_are_one_line_with_sorted_paths() {
    let error = missing_field("b")
        .and(invalid_value(1, "z").with_details("why"))
        .and(missing_field("a"))
        .and(missing_field("b"))
        .via_field("spec");
    assert_eq!(error.to_string(), "invalid value: 1: spec.z\nwhy\nmissing field(s): spec.a, spec.b");
}

#[test]
fn an_error_without_paths_ends_in_a_colon() {
    let none: [&str; 0] = [];
    let error = FieldErrors::one("multi-container is off, but found 2 containers", none).via_field("spec");
    assert_eq!(error.to_string(), "multi-container is off, but found 2 containers: ");
}

#[test]
fn levels_are_told_apart() {
    let error = missing_field("a").and(missing_field("b").at(Level::Warning));
    assert_eq!(error.clone().filter(Level::Error).to_string(), "missing field(s): a");
    assert_eq!(error.clone().filter(Level::Warning).to_string(), "missing field(s): b");
    assert_eq!(error.merged().len(), 2);
    assert!(FieldErrors::none().filter(Level::Error).is_empty());
}

#[test]
fn the_constructors_say_what_knative_says() {
    for (error, text) in [
        (disallowed_fields(["b", "a"]), "must not set the field(s): a, b"),
        (missing_one_of(["a", "b"]), "expected exactly one, got neither: a, b"),
        (multiple_one_of(["a", "b"]), "expected exactly one, got both: a, b"),
        (invalid_key_name("k", "f").with_details("x, y"), "invalid key name \"k\": f\nx, y"),
        (out_of_bounds(7, 0, 5, "f"), "expected 0 <= 7 <= 5: f"),
    ] {
        assert_eq!(error.to_string(), text);
    }
}
