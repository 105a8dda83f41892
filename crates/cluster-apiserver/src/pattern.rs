//! Regular expressions as Go's `regexp` (RE2) reads them, compiled for this machine's engine: one way in, one limit.
//!
//! The two languages are nearly one. What differs is written anew on the way: `\d`, `\w`, `\s` and `\b` know ASCII alone, `{` that counts
//! nothing is itself, and a class has neither classes nor operators in it.

use regex::{Regex, RegexBuilder};

/// A compiled expression may take so many bytes: enough for any that Go compiles, but for some that repeat large classes of characters.
const MAX_BYTES: usize = 4 << 20;
/// What may be repeated, at most so often.
const MAX_REPEAT: usize = 1000;

/// Compiles an expression.
///
/// # Errors
/// What Go says of one that is none.
pub(crate) fn compile(text: &str) -> Result<Regex, String> {
    let Written { text: written, .. } = write(text)?;
    let compiled = RegexBuilder::new(&written).size_limit(MAX_BYTES).build();
    compiled.map_err(|error| wrong(reason(&error), text))
}

/// How large an expression is when it is compiled, in characters to match.
pub(crate) fn weight(text: &str) -> usize {
    write(text).map_or(text.len(), |written| written.weight)
}

fn wrong(why: &str, text: &str) -> String {
    format!("error parsing regexp: {why}: `{text}`")
}

/// What is wrong, in Go's words.
fn reason(error: &regex::Error) -> &'static str {
    let regex::Error::Syntax(text) = error else { return "expression too large" };
    let is = |part: &str| text.contains(part);
    match () {
        () if is("unclosed group") => "missing closing )",
        () if is("unopened group") => "unexpected )",
        () if is("unclosed character class") => "missing closing ]",
        () if is("repetition operator missing expression") => "missing argument to repetition operator",
        () if is("invalid character class range") => "invalid character class range",
        () if is("look-around") || is("flag") || is("capture group name") => "invalid or unsupported Perl syntax",
        () => "invalid escape sequence",
    }
}

/// An expression in the engine's language.
struct Written {
    text: String,
    weight: usize,
}

/// What is known while an expression is rewritten.
#[derive(Default)]
struct Writer {
    out: String,
    /// Weights of the groups that are open, outermost first.
    outer: Vec<usize>,
    /// The weight of the group that is being read, and of its last part.
    group: usize,
    last: usize,
}

fn write(text: &str) -> Result<Written, String> {
    let mut writer = Writer::default();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let after = rest.get(c.len_utf8()..).unwrap_or_default();
        rest = match c {
            '\\' => writer.escape(after, false),
            '[' => writer.class(after),
            '{' => match repeat(after) {
                Some((_, times)) if times > MAX_REPEAT => return Err(wrong("invalid repeat count", text)),
                Some((end, times)) => writer.repeat(rest, end + 1, times),
                None => writer.part(r"\{", 1, after),
            },
            '(' => {
                writer.outer.push(writer.group);
                (writer.group, writer.last) = (0, 0);
                writer.plain('(', after)
            }
            ')' => {
                writer.last = writer.group;
                writer.group = writer.outer.pop().unwrap_or_default().saturating_add(writer.last);
                writer.plain(')', after)
            }
            '*' | '+' | '?' | '|' | '^' | '$' => writer.plain(c, after),
            '.' => writer.part(".", 4, after),
            c => writer.part(c.encode_utf8(&mut [0; 4]), 1, after),
        };
    }
    let weight = writer.outer.iter().fold(writer.group, |sum, group| sum.saturating_add(*group));
    Ok(Written { text: writer.out, weight })
}

impl Writer {
    fn plain<'t>(&mut self, c: char, rest: &'t str) -> &'t str {
        self.out.push(c);
        rest
    }

    /// Something that is matched.
    fn part<'t>(&mut self, text: &str, weight: usize, rest: &'t str) -> &'t str {
        self.out.push_str(text);
        self.group = self.group.saturating_add(weight);
        self.last = weight;
        rest
    }

    /// The last part, some times.
    fn repeat<'t>(&mut self, rest: &'t str, end: usize, times: usize) -> &'t str {
        let (count, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
        self.out.push_str(count);
        self.group = self.group.saturating_add(self.last.saturating_mul(times.saturating_sub(1)));
        self.last = self.last.saturating_mul(times.max(1));
        after
    }

    /// What follows a backslash.
    fn escape<'t>(&mut self, rest: &'t str, in_class: bool) -> &'t str {
        let Some(c) = rest.chars().next() else { return self.plain('\\', rest) };
        let after = rest.get(c.len_utf8()..).unwrap_or_default();
        match c {
            'd' => self.part("[0-9]", 1, after),
            'D' => self.part("[^0-9]", 8, after),
            's' => self.part(r"[\t\n\f\r ]", 1, after),
            'S' => self.part(r"[^\t\n\f\r ]", 8, after),
            'w' => self.part("[0-9A-Za-z_]", 1, after),
            'W' => self.part("[^0-9A-Za-z_]", 8, after),
            'b' if !in_class => self.part(r"(?-u:\b)", 1, after),
            'B' if !in_class => self.part(r"(?-u:\B)", 1, after),
            // What is in braces is a name or a number, and counts nothing.
            'p' | 'P' | 'x' => {
                let end = if after.starts_with('{') { after.find('}').map_or(0, |end| end + 1) } else { 0 };
                let (braces, after) = after.split_at_checked(end).unwrap_or(("", after));
                self.part(&format!(r"\{c}{braces}"), if c == 'x' { 1 } else { 400 }, after)
            }
            'Q' if !in_class => {
                let (quoted, after) = after.split_once(r"\E").unwrap_or((after, ""));
                self.part(&regex::escape(quoted), quoted.len(), after)
            }
            // These mean something else to the engine.
            '<' | '>' => self.part(c.encode_utf8(&mut [0; 4]), 1, after),
            c => self.part(&format!(r"\{c}"), 1, after),
        }
    }

    /// What follows the bracket that opens a class.
    fn class<'t>(&mut self, rest: &'t str) -> &'t str {
        let (group, mut rest, mut is_first) = (self.group, rest, true);
        self.out.push('[');
        if let Some(after) = rest.strip_prefix('^') {
            rest = self.plain('^', after);
        }
        while let Some(c) = rest.chars().next() {
            let after = rest.get(c.len_utf8()..).unwrap_or_default();
            rest = match c {
                ']' if !is_first => {
                    self.group = self.group.max(group.saturating_add(1));
                    self.last = self.group.saturating_sub(group);
                    return self.plain(']', after);
                }
                '\\' => self.escape(after, true),
                '[' if after.starts_with(':') => match after.split_once(":]") {
                    Some((name, after)) => self.part(&format!("[{name}:]"), 1, after),
                    None => self.part(r"\[", 1, after),
                },
                '[' | ']' | '&' | '~' => self.part(&format!(r"\{c}"), 1, after),
                '-' if self.out.ends_with('-') => self.part(r"\-", 1, after),
                c if c.is_ascii() => self.part(c.encode_utf8(&mut [0; 4]), 0, after),
                c => self.part(c.encode_utf8(&mut [0; 4]), 4, after),
            };
            is_first = false;
        }
        rest
    }
}

/// Where a repetition ends that begins here, and how often it repeats at most.
fn repeat(text: &str) -> Option<(usize, usize)> {
    let end = text.find('}')?;
    let (least, most) = match text.get(..end)?.split_once(',') {
        Some((least, "")) => (least, least),
        Some(both) => both,
        None => (text.get(..end)?, text.get(..end)?),
    };
    let count = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| text.parse().unwrap_or(usize::MAX))
    };
    Some((end + 1, count(least)?.max(count(most)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_know_ascii_alone() {
        for (pattern, yes, no) in [
            (r"^\w+$", "aZ_9", "é"),
            (r"^\d+$", "09", "٣"),
            (r"^\s+$", " \t", "\u{a0}"),
            (r"^\W$", "é", "a"),
            (r"^[\w.-]+$", "a.b-c", "ä"),
            (r"^[^\d]$", "٣", "3"),
            (r"x\b", "xé", "xa"),
            (r"x\By", "xy", "x y"),
            (r"^[[:alpha:]]+$", "ab", "é"),
            ("^.$", "é", "ab"),
            (r"^\p{Lu}$", "É", "é"),
            (r"^[\pL]$", "é", "1"),
            (r"^\x{1F600}[\x{2028}]\x41$", "\u{1f600}\u{2028}A", "A"),
        ] {
            let regex = compile(pattern).unwrap_or_else(|why| panic!("{pattern}: {why}"));
            assert!(regex.is_match(yes), "{pattern} {yes}");
            assert!(!regex.is_match(no), "{pattern} {no}");
        }
    }

    #[test]
    fn what_go_takes_as_it_stands() {
        for (pattern, yes, no) in [
            (r"^\${[a-z]+}$", "${ab}", "ab"),
            ("^a{,2}$", "a{,2}", "aa"),
            ("^a{2}$", "aa", "a{2}"),
            ("^[[]$", "[", "a"),
            ("^[a&&b]+$", "&ab", "c"),
            ("^[+--]$", ",", "/"),
            ("^[]a]$", "]", "b"),
            (r"^\<a\>$", "<a>", "a"),
            (r"^\Qa.b\E$", "a.b", "axb"),
        ] {
            let regex = compile(pattern).unwrap_or_else(|why| panic!("{pattern}: {why}"));
            assert!(regex.is_match(yes), "{pattern} {yes}");
            assert!(!regex.is_match(no), "{pattern} {no}");
        }
    }

    #[test]
    fn what_is_none_is_told_in_go_s_words() {
        for (pattern, why) in [
            ("(a", "missing closing )"),
            ("a)", "unexpected )"),
            ("[a", "missing closing ]"),
            ("*a", "missing argument to repetition operator"),
            ("[b-a]", "invalid character class range"),
            ("a{1001}", "invalid repeat count"),
            (r"\y", "invalid escape sequence"),
            ("(?=a)", "invalid or unsupported Perl syntax"),
            ("(((x{100}){100}){100}){100}", "expression too large"),
        ] {
            assert_eq!(compile(pattern).map(|_| ()), Err(format!("error parsing regexp: {why}: `{pattern}`")));
        }
        assert!(compile("^[a-z0-9]([-a-z0-9]{0,251}[a-z0-9])?$").is_ok() && compile(r"^[\p{L}\p{N}]{1,63}$").is_ok());
    }

    #[test]
    fn what_repeats_weighs_more() {
        assert_eq!(weight("abc"), 3);
        assert_eq!(weight("(ab){10}c{2,3}"), 23);
        assert!(weight("((x{100}){100}){100}") >= 1_000_000);
        assert!(weight(r"\p{L}{100}") >= 10_000);
    }
}
