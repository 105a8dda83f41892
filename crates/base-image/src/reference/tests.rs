//! Tables from Docker's rules, and properties over arbitrary text.

use proptest::prelude::*;

use super::*;

const HEX: &str = "6f4f34ab9a3bbd2c7b1e4a1c3de42e16f9e3f4f1c7b0d4f1e2a3b4c5d6e7f809";

fn canonical(text: &str) -> String {
    Reference::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).to_string()
}

#[test]
fn references_are_normalised_as_docker_does() {
    let table = [
        ("hello", "docker.io/library/hello:latest"),
        ("hello:v1", "docker.io/library/hello:v1"),
        ("library/hello", "docker.io/library/hello:latest"),
        ("kwick/hello", "docker.io/kwick/hello:latest"),
        ("a/b/c", "docker.io/a/b/c:latest"),
        ("docker.io/hello", "docker.io/library/hello:latest"),
        ("index.docker.io/hello", "docker.io/library/hello:latest"),
        ("index.docker.io/a/b:1", "docker.io/a/b:1"),
        ("localhost/hello", "localhost/hello:latest"),
        ("localhost", "docker.io/library/localhost:latest"),
        ("localhost:5000", "docker.io/library/localhost:5000"),
        ("localhost:5000/hello", "localhost:5000/hello:latest"),
        ("127.0.0.1:5000/a/b:v1", "127.0.0.1:5000/a/b:v1"),
        ("[::1]:5000/a", "[::1]:5000/a:latest"),
        ("[fd00::1]/a", "[fd00::1]/a:latest"),
        ("Registry/hello", "Registry/hello:latest"),
        ("ghcr.io/a/b", "ghcr.io/a/b:latest"),
        ("test.com:8080/a__b/c-d--e/f.g:A_b.c-d", "test.com:8080/a__b/c-d--e/f.g:A_b.c-d"),
        ("dev.local/hello", "dev.local/hello:latest"),
    ];
    for (text, expected) in table {
        assert_eq!(canonical(text), expected, "{text}");
    }
}

#[test]
fn a_digest_wins_over_a_tag() {
    let expected = format!("docker.io/library/hello@sha256:{HEX}");
    assert_eq!(canonical(&format!("hello@sha256:{HEX}")), expected);
    assert_eq!(canonical(&format!("hello:v1@sha256:{HEX}")), expected);
    assert_eq!(Reference::parse(&expected).unwrap().digest(), format!("sha256:{HEX}").parse().ok());
}

#[test]
fn refusals_name_the_part() {
    let long = "a".repeat(256);
    let hello_digest = format!("hello@sha256:{}", &HEX[1..]);
    let sha512 = format!("hello@sha512:{HEX}{HEX}");
    let table = [
        ("", "must not be empty"),
        ("Hello", "must be lower-case"),
        ("a/Hello", "must be lower-case"),
        ("docker.io/Hello", "must be lower-case"),
        ("hello:", "tag \"\""),
        ("hello:-a", "tag \"-a\""),
        ("hello:a:b", "tag \"a:b\""),
        ("hello/", "repository \"hello/\""),
        ("a//b", "repository \"a//b\""),
        ("-a", "repository \"-a\""),
        ("a.", "repository"),
        ("a..b", "repository"),
        ("a___b", "repository"),
        ("a b", "repository"),
        ("../a", "is not a registry host"),
        ("/a", "repository"),
        ("a.-b/c", "is not a registry host"),
        ("a:x/c", "is not a registry host"),
        ("a:99999/c", "is not a registry host"),
        ("[::1/c", "is not a registry host"),
        ("hello@", "invalid image reference"),
        ("hello@latest", "invalid image reference"),
        (&hello_digest, "invalid image reference"),
        (&sha512, "invalid image reference"),
        (HEX, "64 hexadecimal digits"),
        (&long, "at most 255 bytes"),
        ("https://ghcr.io/a", "is not a registry host"),
    ];
    for (text, expected) in table {
        let error = Reference::parse(text).expect_err(text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    assert!(Reference::parse(&"a".repeat(100_000)).unwrap_err().to_string().len() < 200);
}

#[test]
fn the_registry_of_docker_has_three_names() {
    let hello = Reference::parse("hello").unwrap();
    assert_eq!(hello.registry(), "docker.io");
    assert_eq!(hello.host(), "registry-1.docker.io");
    let by_digest = hello.with_digest(Digest::of(b""));
    assert_eq!(by_digest.to_knative(), format!("index.docker.io/library/hello@{}", Digest::of(b"")));
    assert_eq!(Reference::parse("ghcr.io/a/b:v1").unwrap().to_knative(), "ghcr.io/a/b:v1");
}

#[test]
fn the_familiar_name_is_the_shortest() {
    for text in ["hello", "hello:v1", "a/b", "ghcr.io/a/b:v1", "localhost:5000/a"] {
        assert_eq!(Reference::parse(text).unwrap().to_familiar(), text);
    }
    assert_eq!(Reference::parse("library/a/b").unwrap().to_familiar(), "library/a/b");
}

#[test]
fn a_url_s_parts_are_taken_literally() {
    let tag = Selector::parse("v1").unwrap();
    assert_eq!(Reference::from_parts("docker.io", "hello", tag.clone()).unwrap().to_string(), "docker.io/hello:v1");
    assert!(Reference::from_parts("a b", "hello", tag.clone()).is_err());
    assert!(Reference::from_parts("a.b", "he llo", tag).is_err());
    assert!(Selector::parse("sha256:00").is_err());
    assert!(Selector::parse("a/b").is_err());
}

#[test]
fn a_repository_s_references_are_neighbours() {
    let mut all: Vec<_> = ["a/b:z", "a/c:a", "a/b:a"].iter().map(|text| Reference::parse(text).unwrap()).collect();
    all.sort();
    let order: Vec<_> = all.iter().map(Reference::to_familiar).collect();
    assert_eq!(order, ["a/b:a", "a/b:z", "a/c:a"]);
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics_and_what_parses_is_stable(text in "\\PC{0,80}") {
        if let Ok(reference) = Reference::parse(&text) {
            prop_assert_eq!(Reference::parse(&reference.to_string()).unwrap(), reference);
        }
    }

    #[test]
    fn likely_text_is_stable_in_every_form(
        text in "([a-zA-Z0-9.-]{1,8}(:[0-9]{1,5})?/)?[a-z0-9._-]{1,8}(/[a-z0-9._-]{1,8}){0,2}(:[a-zA-Z0-9._-]{0,8})?(@sha256:[0-9a-f]{64})?"
    ) {
        if let Ok(reference) = Reference::parse(&text) {
            prop_assert_eq!(&Reference::parse(&reference.to_string()).unwrap(), &reference);
            prop_assert_eq!(&Reference::parse(&reference.to_familiar()).unwrap(), &reference);
            prop_assert_eq!(&Reference::parse(&reference.to_knative()).unwrap(), &reference);
        }
    }
}
