//! Costs as a kube-apiserver 1.37 estimates them, by its own code.

use serde_json::json;

use crate::cel::{Program, Scope, Wanted};
use crate::schema::Schema;

#[rustfmt::skip]
const COSTS: &[(&str, u64)] = &[
    ("true", 0),
    ("self.n > 1", 3),
    ("self.s == 'abc'", 3),
    ("self.s != oldSelf.s", 44),
    ("self.b == true", 2),
    ("self.mode == 'Always'", 3),
    ("has(self.n) && self.n < 3", 4),
    ("!has(self.n) || self.n in [1, 2, 3]", 17),
    ("self.n in self.list", 54),
    ("'x' in self.labels", 3),
    ("self.n > 0 ? self.s.size() > 2 : self.s.matches('^[a-z]+$')", 87),
    ("self.s.startsWith('ab') || self.s.endsWith('cd') || self.s.contains('ef')", 48),
    ("self.names.all(x, x.startsWith('a'))", 103),
    ("self.names.exists(x, x == self.s)", 223),
    ("self.names.exists_one(x, x == 'a')", 84),
    ("self.items.all(x, x.v > 3)", 449_391),
    ("self.items.filter(x, x.v > 3).size() < 5", 1_198_383),
    ("self.items.map(x, x.name).all(y, y != '')", 1_348_178),
    ("self.items.map(x, x.v > 1, x.name).exists(y, y == 'a')", 1_647_770),
    ("self.items.filter(x, x.name != 'a')[0].name == 'b'", 1_198_384),
    ("self.items[0].name == self.s", 46),
    ("self.labels.all(k, k.size() < 63 && self.labels[k] != '')", 3_932_153),
    ("self.limits.exists(k, self.limits[k] == 'a')", 75),
    ("self.limits.all(k, v, v.size() > k.size())", 67),
    ("self.names.transformList(i, v, i > 0, v + 'x').all(w, w.size() > 1)", 534),
    ("self.limits.transformMap(k, v, v + k).size() == 2", 131),
    ("self.limits.transformMapEntry(k, v, {v: k}).size() == 2", 307),
    ("self.names.sortBy(x, x.size()).size() == 2", 1_118),
    ("self.names.join(',').size() < 10", 86),
    ("self.s.replace('a', 'bbb').size() > 2", 84),
    ("self.s.split(',').all(x, x.trim().lowerAscii() != '')", 1_683),
    ("self.s.split(',', 3).size() == 3", 84),
    ("self.s.substring(1).upperAscii() == 'A'", 83),
    ("self.s.find('[0-9]+') == '1'", 85),
    ("self.s.findAll('[0-9]+').all(x, int(x) > 3)", 2_485),
    ("self.any.all(x, self.any.exists(y, x == y))", 345_882_608_640_773_328),
    ("self.list.sum() > 3 && self.list.max() < 5 && self.names.min() == 'a' && self.list.isSorted()", 261),
    ("self.names.indexOf('a') == 1 && self.s.indexOf('a') == 1 && self.s.lastIndexOf('b') > 2", 189),
    ("self.s + 'x' == 'abc'", 44),
    ("self.names + ['a'] == ['b']", 24),
    ("quantity(self.s).isLessThan(quantity('1Gi'))", 44),
    ("isQuantity(self.s) && quantity(self.s) == quantity('1')", 86),
    ("isURL(self.s) && url(self.s).getScheme() == 'https'", 47),
    ("isIP(self.s) && ip(self.s).family() == 4 && ip.isCanonical(self.s)", 168),
    ("isCIDR(self.s) && cidr(self.s).containsIP('10.0.0.1') && cidr(self.s).ip() == ip('1.2.3.4')", 134),
    ("cidr(self.s).containsCIDR(cidr('10.0.0.0/8')) && cidr(self.s).masked().prefixLength() == 8", 95),
    ("self.at < timestamp('2020-01-01T00:00:00Z') || self.wait > duration('1s')", 8),
    ("self.at.getFullYear() > 2000 && self.wait == duration('1s')", 8),
    ("self.raw == b'abc' && string(self.raw) == 'abc' && bytes(self.s) == b'a'", 314_622),
    ("type(self.port) == int ? self.port > 5 : string(self.port).endsWith('%')", 314_580),
    ("dyn(self.s) == 'a' && self.port == 5", 7),
    ("self.?n.hasValue() && self.?s.orValue('x') == 'y'", 7),
    ("self.?s.optMap(v, v.size() > 1).orValue(true)", 21),
    ("self.?s.optFlatMap(v, v == 'a' ? optional.of(1) : optional.none()).hasValue()", 20),
    ("self.labels[?'a'].orValue('') == 'x'", 5),
    ("sets.contains(self.names, ['a', 'b']) || sets.equivalent(self.names, self.names) || sets.intersects(self.any, self.any)", 1_099_509_531_488),
    ("self.names.distinct().size() == 2 && self.list.sort() == self.list && self.list.reverse()[0] == 1", 5_899),
    ("self.list.slice(1, 3).size() == 2 && [[1], [2]].flatten() == [1, 2] && lists.range(5).size() == 5", 89),
    ("self.names.first().hasValue() && self.list.last().value() == 3", 9),
    ("{'a': self.s}['a'] == 'b' && {'a': 1, 'b': 2}.all(k, k != '')", 73),
    ("'%s-%d'.format([self.s, self.n]) == 'a-1'", 16),
    ("strings.quote(self.s) == 'a'", 43),
    ("self.s <= 'a' && self.d / 2.0 > 1.5 && -self.n < 3 && self.n % 2 == 0", 15),
    ("format.dns1123Label().validate(self.s).hasValue() && !format.named('uri').hasValue()", 1_287),
    ("semver('1.2.3').major() == 1 && isSemver(self.s) && semver(self.s) == semver('1.0.0')", 89),
    ("self.items.map(x, x.when) == self.items.map(x, x.when)", 2_104_660),
    ("[1, 2].map(x, [x, x]).map(y, y[0]).all(z, z > 0)", 119),
    ("self.limits == oldSelf.limits && self.items == oldSelf.items", 7_499),
    ("self == oldSelf", 2),
    ("self.s.matches(self.s) && matches(self.s, 'a.*b')", 4_147),
    ("self.s.charAt(1) == 'a' && self.s.lowerAscii().trim() == self.s", 128),
];

#[test]
fn costs_are_those_of_kubernetes() {
    let schema = Schema::parse(&json!({"type": "object", "required": ["s"], "properties": {
        "n": {"type": "integer"}, "d": {"type": "number"}, "s": {"type": "string", "maxLength": 100},
        "b": {"type": "boolean"}, "mode": {"type": "string", "enum": ["Always", "Never"]},
        "at": {"type": "string", "format": "date-time"}, "wait": {"type": "string", "format": "duration"},
        "raw": {"type": "string", "format": "byte"}, "port": {"x-kubernetes-int-or-string": true},
        "list": {"type": "array", "items": {"type": "integer"}, "maxItems": 50},
        "names": {"type": "array", "items": {"type": "string", "maxLength": 10}, "maxItems": 20},
        "any": {"type": "array", "items": {"type": "string"}},
        "items": {"type": "array", "items": {"type": "object", "required": ["name", "when"], "properties": {
            "name": {"type": "string"}, "when": {"type": "string", "format": "date-time"}, "v": {"type": "integer"}}}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "limits": {"type": "object", "maxProperties": 8, "additionalProperties": {"type": "string", "maxLength": 16}},
    }}));
    let scope = Scope { schema: &schema, is_resource: false, has_optional_old: false };
    let mut wrong = Vec::new();
    for (source, cost) in COSTS {
        match Program::compile(source, scope, Wanted::Truth) {
            Ok(program) if program.worst_case == *cost => {}
            Ok(program) => wrong.push(format!("{source}: {} and not {cost}", program.worst_case)),
            Err(error) => wrong.push(format!("{source}: {error:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
