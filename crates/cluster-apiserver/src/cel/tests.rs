//! Rows of expressions: over one object, what they give.

use serde_json::{Value, json};

use super::*;

fn schema() -> Schema {
    Schema::parse(&json!({"type": "object", "properties": {
        "n": {"type": "integer"}, "d": {"type": "number"}, "s": {"type": "string"}, "b": {"type": "boolean"},
        "missing": {"type": "string"}, "at": {"type": "string", "format": "date-time"},
        "wait": {"type": "string", "format": "duration"}, "raw": {"type": "string", "format": "byte"},
        "port": {"x-kubernetes-int-or-string": true},
        "list": {"type": "array", "items": {"type": "integer"}},
        "names": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
        "items": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                  "items": {"type": "object", "properties": {"name": {"type": "string"}, "v": {"type": "integer"}}}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "a-b": {"type": "integer"}, "namespace": {"type": "string"},
        "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        "none": {"type": "string", "nullable": true},
        "template": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"x": {"type": "integer"}}},
    }}))
}

fn object() -> Value {
    json!({
        "n": 5, "d": 2, "s": "héllo world", "b": true, "at": "2024-02-29T12:30:15Z", "wait": "1h30m", "raw": "aGk=", "port": "80%",
        "list": [3, 1, 2], "names": ["x", "y"], "items": [{"name": "a", "v": 1}, {"name": "b", "v": 2}],
        "labels": {"app": "web", "a.b/c": "z"}, "a-b": 7, "namespace": "ns", "any": {"k": 1}, "none": null,
        "template": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "x": 1},
    })
}

fn scope(schema: &Schema) -> Scope<'_> {
    Scope { schema, is_resource: false, has_optional_old: false }
}

fn compiled(source: &str) -> Result<Program, CompileError> {
    Program::compile(source, scope(&schema()), Wanted::Truth)
}

fn evaluated(source: &str) -> Result<Outcome, Fault> {
    let schema = schema();
    let program = Program::compile(source, scope(&schema), Wanted::Truth).unwrap_or_else(|e| panic!("{source}: {e:?}"));
    program.evaluate(scope(&schema), &object(), Some(&object()), &mut OBJECT_LIMIT.clone())
}

#[test]
fn what_is_true() {
    let table = include_str!("../../testdata/cel-true.txt");
    let mut rows = 0;
    for source in table.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        assert_eq!(evaluated(source), Ok(Outcome::Truth(true)), "{source}");
        rows += 1;
    }
    assert!(rows > 150, "{rows} rows");
}

#[test]
fn what_fails_while_it_is_evaluated() {
    for (source, wanted) in [
        ("self.missing == 'x'", "no such key: missing"),
        ("self.list[7] == 1", "index out of bounds: 7"),
        ("self.labels['nope'] == ''", "no such key: nope"),
        ("self.n / (self.n - 5) == 1", "division by zero"),
        ("9223372036854775807 + self.n > 0", "integer overflow"),
        ("self.port + 1 == 2", "no such overload: _+_(string, int)"),
        ("quantity('x') == quantity('1')", "unable to parse quantity's suffix"),
        ("self.s.matches('(' + self.s)", "error parsing regexp: `(héllo world`"),
        ("optional.none().value() == 1", "optional.none() dereference"),
        ("duration(self.s) == duration('1s')", "time: invalid duration \"héllo world\""),
        ("[].min() == 1", "min called on empty list"),
        ("self.s.substring(20) == ''", "index out of range: 11"),
        ("ip('1.2.3') == ip('1.2.3.4')", "IP Address \"1.2.3\" parse error during conversion from string"),
    ] {
        let Err(Fault::Error(found)) = evaluated(source) else { panic!("{source} did not fail") };
        if wanted.starts_with("unable") {
            assert!(found.contains("quantit"), "{found}");
        } else {
            assert_eq!(found, wanted, "{source}");
        }
    }
}

#[test]
fn what_is_refused_before() {
    for (source, wanted) in [
        ("self.nope == 1", "ERROR: <input>:1:5: undefined field 'nope'\n | self.nope == 1\n | ....^"),
        ("foo(1)", "ERROR: <input>:1:4: undeclared reference to 'foo' (in container '')\n | foo(1)\n | ...^"),
        ("x == 1", "ERROR: <input>:1:1: undeclared reference to 'x' (in container '')\n | x == 1\n | ^"),
        (
            "self.n +\n 'a' == 1",
            "ERROR: <input>:1:8: found no matching overload for '_+_' applied to '(int, string)'\n | self.n +\n | .......^",
        ),
        (
            "self.n.startsWith('a')",
            "ERROR: <input>:1:18: found no matching overload for 'startsWith' applied to 'int.(string)'\n | self.n.startsWith('a')\n | .................^",
        ),
        (
            "self.n.x == 1",
            "ERROR: <input>:1:7: type 'int' does not support field selection\n | self.n.x == 1\n | ......^",
        ),
        (
            "self.n.all(x, x)",
            "ERROR: <input>:1:5: expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)\n | self.n.all(x, x)\n | ....^",
        ),
        ("[1, 'a'] == []", "ERROR: <input>:1:5: expected type 'int' but found 'string'\n | [1, 'a'] == []\n | ....^"),
        (
            "self.s.matches('(')",
            "ERROR: <input>:1:16: invalid matches argument\n | self.s.matches('(')\n | ...............^",
        ),
        (
            "duration('x') == duration('1s')",
            "ERROR: <input>:1:10: invalid duration argument\n | duration('x') == duration('1s')\n | .........^",
        ),
        ("self.any.k == 1", "ERROR: <input>:1:9: undefined field 'k'\n | self.any.k == 1\n | ........^"),
    ] {
        assert_eq!(compiled(source).map(|_| ()), Err(CompileError::Syntax(wanted.to_owned())), "{source}");
    }
    assert_eq!(compiled("self.n").map(|_| ()), Err(CompileError::Type));
    let anything = Schema::anything();
    let program = Program::compile("true", scope(&anything), Wanted::Truth);
    assert_eq!(program.map(|_| ()), Err(CompileError::NoType));
}

#[test]
fn nothing_takes_long() {
    let loops = "self.list.all(a, self.list.all(b, self.list.all(c, self.list.all(d, self.list.all(e, self.list.all(f, true))))))";
    let schema = schema();
    let program = Program::compile(loops, scope(&schema), Wanted::Truth).expect("compiled");
    assert!(program.worst_case(scope(&schema)) > 1_000_000_000, "{}", program.worst_case(scope(&schema)));
    let many = json!({"list": (0..100).collect::<Vec<_>>()});
    let mut left = OBJECT_LIMIT;
    assert_eq!(program.evaluate(scope(&schema), &many, None, &mut left), Err(Fault::Cost));
    assert_eq!(left, OBJECT_LIMIT - CALL_LIMIT);
    for grows in [
        "lists.range(100000000000).size() == 0",
        "['aaaaaaaaaa'].map(x, x.replace('a', x)).map(x, x.replace('a', x)).map(x, x.replace('a', x)).map(x, x.replace('a', x)).map(x, x.replace('a', x)).map(x, x.replace('a', x)).map(x, x.replace('a', x)).size() == 1",
        "lists.range(1000).all(x, lists.range(1000).all(y, x == y || true))",
        "lists.range(3000).map(x, 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'.findAll('a')).map(x, x + x).map(x, x + x).map(x, x + x).size() == 1",
    ] {
        assert_eq!(evaluated(grows), Err(Fault::Cost), "{grows}");
    }
}

#[test]
fn what_was_before() {
    let schema = schema();
    let program = Program::compile("self.n > oldSelf.n", scope(&schema), Wanted::Truth).expect("compiled");
    assert!(program.uses_old);
    let outcome = program.evaluate(scope(&schema), &json!({"n": 2}), Some(&json!({"n": 1})), &mut OBJECT_LIMIT.clone());
    assert_eq!(outcome, Ok(Outcome::Truth(true)));
    let optional = Scope { has_optional_old: true, ..scope(&schema) };
    let source = "oldSelf.hasValue() ? oldSelf.value().n < self.n : self.n == 0 || oldSelf.?n.orValue(3) == 3";
    let program = Program::compile(source, optional, Wanted::Truth).expect("compiled");
    for (own, old, wanted) in [(2, Some(1), true), (0, None, true), (1, Some(1), false), (9, None, true)] {
        let old = old.map(|n| json!({"n": n}));
        let outcome = program.evaluate(optional, &json!({"n": own}), old.as_ref(), &mut OBJECT_LIMIT.clone());
        assert_eq!(outcome, Ok(Outcome::Truth(wanted)), "{own} {old:?}");
    }
}
