//! Reading the table of facts in place.
//!
//! ```text
//! "KFACTS01" · 16 bytes digest of the rest
//! u16 kinds · u16 types · u16 fields · u16 strings
//! kinds   × 4 u16   group, version, kind (strings), type                     sorted by group, version, kind
//! types   × 5 u16   OpenAPI name, Go name, first field, fields, flags        sorted by OpenAPI name
//! fields  × 22 byte name u16 · number u8 · via u8 u8 · shape<<6|value u8 · message u16 · flags u16
//!                   · Go type, merge key, list map keys, default, enum, embedding names (u16 strings)
//!                                                                            sorted by name inside a type
//! strings + 1 × u32 where each ends and the next begins                      sorted
//! bytes of all strings
//! ```
//! All numbers are little-endian. `tools/kube-facts/encode.go` writes it. The table is trusted (a test checks it), and
//! yet every read is bounded: an index outside gives 0 or an empty string.

const TABLE: &[u8] = include_bytes!("../../data/kube-facts.bin");

const COUNTS: usize = 24;
const KINDS: usize = COUNTS + 8;
const KIND_SIZE: usize = 8;
const TYPE_SIZE: usize = 10;
const FIELD_SIZE: usize = 22;

fn bytes<const N: usize>(at: usize) -> [u8; N] {
    TABLE.get(at..).and_then(<[u8]>::first_chunk::<N>).copied().unwrap_or([0; N])
}

fn word(at: usize) -> u16 {
    u16::from_le_bytes(bytes(at))
}

/// A digest of the table: two servers with the same one know the same fields.
pub fn digest() -> [u8; 16] {
    bytes(8)
}

pub(super) fn kind_count() -> u16 {
    word(COUNTS)
}

pub(super) fn type_count() -> u16 {
    word(COUNTS + 2)
}

fn types_at() -> usize {
    KINDS + usize::from(kind_count()) * KIND_SIZE
}

fn fields_at() -> usize {
    types_at() + usize::from(type_count()) * TYPE_SIZE
}

fn strings_at() -> usize {
    fields_at() + usize::from(word(COUNTS + 4)) * FIELD_SIZE
}

fn offset_of_string(index: u16) -> usize {
    let at = strings_at() + usize::from(index) * 4;
    usize::try_from(u32::from_le_bytes(bytes(at))).unwrap_or_default()
}

/// Group, version, kind (strings) and type of the kind at `index`.
pub(super) fn kind(index: u16) -> [u16; 4] {
    let at = KINDS + usize::from(index) * KIND_SIZE;
    [word(at), word(at + 2), word(at + 4), word(at + 6)]
}

pub(super) fn type_word(index: u16, column: usize) -> u16 {
    if index >= type_count() {
        return 0;
    }
    word(types_at() + usize::from(index) * TYPE_SIZE + column * 2)
}

fn field_at(index: u16) -> usize {
    fields_at() + usize::from(index) * FIELD_SIZE
}

pub(super) fn field_word(index: u16, offset: usize) -> u16 {
    word(field_at(index) + offset)
}

pub(super) fn field_byte(index: u16, offset: usize) -> u8 {
    bytes::<1>(field_at(index) + offset)[0]
}

pub(super) fn string(index: u16) -> &'static str {
    let base = strings_at() + (usize::from(word(COUNTS + 6)) + 1) * 4;
    let range = base + offset_of_string(index)..base + offset_of_string(index.saturating_add(1));
    TABLE.get(range).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default()
}

/// The index in `0..count` for which `compare` says equal, in a sorted column.
fn search(count: u16, compare: impl Fn(u16) -> std::cmp::Ordering) -> Option<u16> {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        match compare(middle) {
            std::cmp::Ordering::Equal => return Some(middle),
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
        }
    }
    None
}

pub(super) fn find_kind(group: &str, version: &str, name: &str) -> Option<u16> {
    let at = search(kind_count(), |index| {
        let [g, v, k, _] = kind(index);
        (string(g), string(v), string(k)).cmp(&(group, version, name))
    })?;
    Some(kind(at)[3])
}

pub(super) fn find_type(name: &str) -> Option<u16> {
    search(type_count(), |index| string(type_word(index, 0)).cmp(name))
}

#[cfg(test)]
pub(super) fn whole() -> &'static [u8] {
    TABLE
}

#[cfg(test)]
pub(super) fn string_count() -> u16 {
    word(COUNTS + 6)
}

#[cfg(test)]
pub(super) fn end() -> usize {
    strings_at() + (usize::from(string_count()) + 1) * 4 + offset_of_string(string_count())
}
