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
        ("self.s.matches('(' + self.s)", "error parsing regexp: missing closing ): `(héllo world`"),
        ("{dyn(1.5): 1}.size() == 1", "unsupported key type: double"),
        ("{dyn([1]): 1}.size() == 1", "unsupported key type: list"),
        ("self.s.lastIndexOf('o', -1) == 1", "index out of range: -1"),
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
    assert_eq!(compiled("self.n").map(|_| ()), Err(CompileError::Type("int".to_owned())));
    let anything = Schema::anything();
    let program = Program::compile("true", scope(&anything), Wanted::Truth);
    assert_eq!(program.map(|_| ()), Err(CompileError::NoType));
}

#[test]
fn nothing_takes_long() {
    let loops = "self.list.all(a, self.list.all(b, self.list.all(c, self.list.all(d, self.list.all(e, self.list.all(f, true))))))";
    let schema = schema();
    let program = Program::compile(loops, scope(&schema), Wanted::Truth).expect("compiled");
    assert!(program.worst_case > 1_000_000_000, "{}", program.worst_case);
    let dear = (0..6).fold("true".to_owned(), |body, n| format!("self.items.exists(x{n}, {body})"));
    let dearest = format!("self.items.filter(x, {dear})[0].name == 'a'");
    let program_of = |source: &str| Program::compile(source, scope(&schema), Wanted::Truth).expect("compiled");
    assert_eq!(program_of(&dearest).worst_case, u64::MAX);
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
fn a_large_expression_is_refused_soon() {
    let doubling = (0..40).fold("{1: 1}".to_owned(), |inner, _| format!("[{inner}].map(x, {{x: x}})"));
    let Err(CompileError::Syntax(said)) = compiled(&format!("{doubling} == []")) else { panic!("a map as a key") };
    assert!(said.starts_with("ERROR: <input>:1:") && said.contains(": unsupported key type: map(int, int)"), "{said}");
    let nested = format!("[{}1{}]", "[".repeat(40), "]".repeat(40));
    let deep = (0..8).rev().fold("true".to_owned(), |body, n| {
        let range = if n == 0 { nested.clone() } else { format!("[{}x{n}{}]", "[".repeat(40), "]".repeat(40)) };
        format!("{range}.all(x{}, {body})", n + 1)
    });
    let Err(CompileError::Syntax(said)) = compiled(&deep) else { panic!("values that nest deep") };
    assert!(said.contains("type nesting limit exceeded: 200"), "{said}");
    let wrong = vec!["nope"; 250].join(" || ");
    let Err(CompileError::Syntax(said)) = compiled(&wrong) else { panic!("many mistakes") };
    assert_eq!(said.matches("undeclared reference").count(), 100);
    assert!(said.ends_with("\n150 more errors were truncated"), "{said}");
    let long = format!("true || {}", " ".repeat(100_000));
    let why = "ERROR: <input>:-1:0: expression code point size exceeds limit: size: 100008, limit 100000";
    assert_eq!(compiled(&long).map(|_| ()), Err(CompileError::Syntax(why.to_owned())));
    let line = format!("nope{}", " ".repeat(20_000));
    let why = "ERROR: <input>:1:1: undeclared reference to 'nope' (in container '')";
    assert_eq!(compiled(&line).map(|_| ()), Err(CompileError::Syntax(why.to_owned())), "without the line");
}

#[test]
fn what_a_step_costs() {
    let object = json!({
        "list": (0..5000).collect::<Vec<_>>(), "s": "x".repeat(1000), "raw": "aGkh".repeat(1000), "n": 1,
        "names": (0..2000).map(|n| n.to_string()).collect::<Vec<_>>(),
        "items": (0..2000).map(|n| json!({"name": n.to_string(), "v": n})).collect::<Vec<_>>(),
        "labels": (0..2000).map(|n| (n.to_string(), json!("v"))).collect::<serde_json::Map<_, _>>(),
    });
    let schema = schema();
    let cost = |source: &str| {
        let program = Program::compile(source, scope(&schema), Wanted::Truth).expect(source);
        let mut left = OBJECT_LIMIT;
        let outcome = program.evaluate(scope(&schema), &object, Some(&object), &mut left);
        assert_eq!(outcome, Ok(Outcome::Truth(true)), "{source}");
        OBJECT_LIMIT - left
    };
    for (source, most) in [
        ("self.list[7] == 7", 10),
        ("self.list.size() == 5000", 10),
        ("self.list[?9].hasValue() && self.list.first().value() == 0", 20),
        ("'17' in self.labels", 10),
        ("has(self.raw)", 10),
        // What is compared is walked through once, not once for each pair.
        ("self.items == oldSelf.items", 40_000),
        ("self.names == oldSelf.names", 20_000),
        ("self.labels == oldSelf.labels", 20_000),
        ("(self.items + oldSelf.items).size() == 2000", 10_000),
    ] {
        assert!(cost(source) <= most, "{source}: {}", cost(source));
    }
    for (source, least) in [
        ("self.raw.size() == 3000", 300),
        ("self.list.sort()[0] == 0", 50_000),
        ("self.list.sortBy(x, -x)[0] == 4999", 60_000),
        ("sets.contains(self.list, [4999, 4998])", 10_000),
        ("self.s.matches('(x{10}){10}' + 'x')", 100),
    ] {
        assert!(cost(source) >= least, "{source}: {}", cost(source));
    }
}

#[test]
fn patterns_are_compiled_once() {
    let program =
        compiled("self.s.matches('^h') && self.s.find('l+') == 'll' && matches(self.s, '^h')").expect("compiled");
    assert!(program.patterns.get("^h").is_some() && program.patterns.get("l+").is_some());
    let heavy = r"self.s.matches('\\p{L}{999}')";
    let program = compiled(heavy).expect("compiled");
    assert!(program.patterns.get(r"\p{L}{999}").is_none(), "what weighs too much is compiled when it is needed");
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
