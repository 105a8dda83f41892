//! Layers that try to leave their root, to exhaust the machine, or to confuse the applier. Beside the hand-made cases, which stay here
//! as the corpus, random archives of nasty parts are applied: whatever happens, nothing outside changes and no half layer has a name.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;

fn entry_error(error: UnpackError) -> EntryError {
    match error {
        UnpackError::Entry { source, .. } => source,
        other => panic!("{other:?}"),
    }
}

#[test]
fn paths_cannot_leave_the_root() {
    let Some(fixture) = fixture() else { return };
    for path in ["../outside/x", "a/../../outside/x", "/../outside/x", "..", "../layers/x"] {
        assert!(matches!(entry_error(fixture.refuse(Tar::default().file(path, "x"))), EntryError::Escapes), "{path}");
    }
    for target in ["../outside/canary", "/../outside/canary"] {
        let link = Tar::default().link("l", b'1', target);
        assert!(matches!(entry_error(fixture.refuse(link)), EntryError::Escapes), "{target}");
    }
    assert!(matches!(entry_error(fixture.refuse(Tar::default().file(".", ""))), EntryError::Root));
    for name in [".wh.", "a/.wh..", ".wh..."] {
        assert!(matches!(entry_error(fixture.refuse(Tar::default().file(name, ""))), EntryError::Whiteout), "{name}");
    }
}

#[test]
fn links_lead_nowhere_but_inside() {
    let Some(mut fixture) = fixture() else { return };
    let outside = fixture.outside();
    for target in
        [outside.clone(), "../../../outside".into(), "../../../../../../../../..".into(), "/proc/self/root".into()]
    {
        let archive = Tar::default()
            .link("l", b'2', &target)
            .file("l/planted", "x")
            .file("l/canary", "dead")
            .file("l/.wh.canary", "")
            .file("l/.wh..wh..opq", "")
            .file(&format!("marker{}", target.len()), "");
        let root = fixture.unpack(archive);
        fixture.check_intact();
        let inside = root.join(target.trim_start_matches("../").trim_start_matches('/').trim_end_matches(".."));
        assert_eq!(fs::read_to_string(inside.join("planted")).unwrap(), "x", "{target}");
        fixture.below.clear();
    }
    let canary = format!("{outside}/canary");
    let hard = Tar::default().link("l", b'2', &canary).link("h", b'1', "l").file("h", "replaced, not written through");
    fixture.unpack(hard);
    let through = Tar::default().link("l", b'2', &outside).link("h", b'1', "l/canary");
    fixture.below.clear();
    assert!(matches!(entry_error(fixture.try_unpack(&through.end()).unwrap_err()), EntryError::LinkTarget));
    fixture.check_intact();
}

#[test]
fn link_chains_and_depth_are_bounded() {
    let Some(fixture) = fixture() else { return };
    let looped = Tar::default().link("a", b'2', "b").link("b", b'2', "a").file("a/x", "");
    assert!(matches!(entry_error(fixture.refuse(looped)), EntryError::TooManyLinks));
    let fork = Tar::default().link("a", b'2', "a/a").file("a/x", "");
    assert!(matches!(entry_error(fixture.refuse(fork)), EntryError::TooManyLinks));
    // Each link alone is shallow; together they would make a tree that nobody can remove.
    let deep = Tar::default().link("l", b'2', &"d/".repeat(49));
    let deeper = (0..6).fold(deep, |tar, step| {
        let (name, before) = (format!("m{step}"), if step == 0 { "l".into() } else { format!("m{}", step - 1) });
        tar.link(&name, b'2', &format!("{before}/{}", "e/".repeat(40))).file(&format!("{name}/f"), "")
    });
    assert!(matches!(entry_error(fixture.refuse(deeper)), EntryError::TooDeep));
    let too_deep = "d/".repeat(255);
    let pax = Tar::default().pax(&[("path", too_deep.as_bytes())]).dir("x", 0o755).link("l", b'2', &"d/".repeat(49));
    let over = pax.pax(&[("path", format!("l/{}x", "d/".repeat(210)).as_bytes())]).file("x", "");
    assert!(matches!(entry_error(fixture.refuse(over)), EntryError::TooDeep));
}

#[test]
fn bombs_meet_their_limits() {
    let Some(fixture) = fixture() else { return };
    let archive = Tar::default().file("zeros", &"\0".repeat(1 << 20)).end();
    let mut encoder = Encoder::new(Vec::new(), Compression::Gzip).unwrap();
    encoder.write_all(&archive).unwrap();
    let blob = encoder.finish().unwrap();
    let layer = layer_of(&archive, &blob, &[]);
    let limits = Limits { bytes: 1 << 20, ..Limits::default() };
    let options = UnpackOptions { limits, ..UnpackOptions::default() };
    let error = fixture.layers.unpack(&layer, &[], blob.as_slice(), &options).unwrap_err();
    assert!(base_rt::error_chain(&error).contains("larger than allowed"), "{error:?}");

    let many = (0..20).fold(Tar::default(), |tar, name| tar.file(&format!("f{name}"), "")).end();
    let options = UnpackOptions { limits: Limits { entries: 19, ..Limits::default() }, ..UnpackOptions::default() };
    let layer = layer_of(&many, &many, &[]);
    let error = fixture.layers.unpack(&layer, &[], many.as_slice(), &options).unwrap_err();
    assert!(matches!(error, UnpackError::TooManyEntries { limit: 19 }));
    assert!(fixture.names_of("layers").is_empty());
}

#[test]
fn copies_from_below_count_too() {
    let Some(mut fixture) = fixture() else { return };
    fixture.unpack(Tar::default().file("a", &"x".repeat(4000)).file("b", &"x".repeat(4000)));
    let archive = Tar::default().link("c", b'1', "a").link("d", b'1', "b").end();
    let options = UnpackOptions { limits: Limits { bytes: 6000, ..Limits::default() }, ..UnpackOptions::default() };
    let layer = layer_of(&archive, &archive, &fixture.below);
    let error = fixture.layers.unpack(&layer, &fixture.below, archive.as_slice(), &options).unwrap_err();
    assert!(matches!(entry_error(error), EntryError::TooLarge));
}

#[test]
fn bad_owners_kinds_and_parents_are_refused() {
    let Some(fixture) = fixture() else { return };
    let owner = |id| Tar::default().push(owned("f", b'0', 0o644, (id, 0), 0), b"");
    assert!(matches!(entry_error(fixture.refuse(owner(u64::from(u32::MAX)))), EntryError::Owner));
    assert!(matches!(entry_error(fixture.refuse(owner(1 << 40))), EntryError::Owner));
    let volume = Tar::default().entry("f", b'V', b"");
    assert!(matches!(entry_error(fixture.refuse(volume)), EntryError::Kind { kind: 'V' }));
    let under_file = Tar::default().file("f", "").file("f/g", "");
    assert!(matches!(entry_error(fixture.refuse(under_file)), EntryError::NotADirectory));
    let to_dir = Tar::default().dir("d", 0o755).link("h", b'1', "d");
    assert!(matches!(entry_error(fixture.refuse(to_dir)), EntryError::LinkKind));
}

/// One nasty part: a name, a type and a link target.
#[derive(Clone, Debug)]
struct Part {
    name: String,
    kind: u8,
    target: String,
}

fn path(outside: &str) -> impl Strategy<Value = String> + use<> {
    let component = prop_oneof![
        8 => prop::sample::select(vec!["a", "b", "l", "m"]),
        2 => prop::sample::select(vec!["..", ".", "", ".wh.a", ".wh.l", ".wh..wh..opq", ".wh..", "outside", "canary"]),
    ];
    let relative = prop::collection::vec(component, 1..5).prop_map(|components| components.join("/"));
    prop_oneof![6 => relative.clone(), 1 => relative.prop_map(|path| format!("/{path}")), 1 => Just(outside.to_owned())]
}

fn part(outside: &str) -> impl Strategy<Value = Part> + use<> {
    let kind = prop::sample::select(vec![b'0', b'0', b'5', b'5', b'2', b'2', b'1', b'3', b'6']);
    (path(outside), kind, path(outside)).prop_map(|(name, kind, target)| Part { name, kind, target })
}

#[test]
fn random_nasty_layers_change_nothing_outside() {
    let Some(fixture) = fixture() else { return };
    let parts = || prop::collection::vec(part(&fixture.outside()), 1..14);
    let mut runner = TestRunner::new(Config { cases: 400, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&(parts(), parts()), |(lower, upper)| {
        let mut below = Vec::new();
        for parts in [lower, upper] {
            let archive = parts.iter().filter(|part| part.name.len() <= 99 && part.target.len() <= 99);
            let archive = archive.fold(Tar::default(), |tar, part| tar.link(&part.name, part.kind, &part.target)).end();
            let layer = layer_of(&archive, &archive, &below);
            if fixture.layers.unpack(&layer, &below, archive.as_slice(), &UnpackOptions::default()).is_ok() {
                below.push(layer.chain_id);
            }
            fixture.check_intact();
        }
        prop_assert_eq!(fixture.layers.list().unwrap().len(), below.len());
        for layer in below {
            fixture.layers.remove(layer).unwrap();
        }
        prop_assert!(fixture.names_of("layers").is_empty());
        Ok(())
    });
    outcome.unwrap();
}
