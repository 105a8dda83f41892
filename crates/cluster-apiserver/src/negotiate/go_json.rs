//! Says what is wrong with a JSON text in the words of Go's `encoding/json`, because those stand in Kubernetes' answers.
//!
//! Only asked after parsing has failed; it finds the first offence and names it.

/// What Go's decoder would say about `text`.
pub(crate) fn syntax_error(text: &[u8]) -> String {
    let mut scanner = Scanner { text, at: 0 };
    match scanner.value(0) {
        Err(error) => error,
        Ok(()) => {
            scanner.skip_space();
            match scanner.peek() {
                Some(c) => offence(c, "after top-level value"),
                None => "invalid JSON".to_owned(),
            }
        }
    }
}

/// Deeper texts are refused; Go allows more, but this scanner recurses.
const MAX_DEPTH: usize = 1_000;

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

type Scan = Result<(), String>;

fn offence(c: u8, context: &str) -> String {
    let shown = match c {
        b'\'' => "'\\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        b'\n' => "'\\n'".to_owned(),
        b'\r' => "'\\r'".to_owned(),
        b'\t' => "'\\t'".to_owned(),
        0..0x20 | 0x7f => format!("'\\x{c:02x}'"),
        0x80..0xa0 => format!("'\\u{c:04x}'"),
        _ => format!("'{}'", char::from(c)),
    };
    format!("invalid character {shown} {context}")
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Result<u8, String> {
        let c = self.peek().ok_or_else(|| "unexpected end of JSON input".to_owned())?;
        self.at += 1;
        Ok(c)
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|c| matches!(c, b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn next_token(&mut self) -> Result<u8, String> {
        self.skip_space();
        self.next()
    }

    fn value(&mut self, depth: usize) -> Scan {
        if depth > MAX_DEPTH {
            return Err("exceeded max depth".to_owned());
        }
        match self.next_token()? {
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b'"' => self.string(),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            b'-' => match self.next()? {
                c if c.is_ascii_digit() => self.number(c),
                c => Err(offence(c, "in numeric literal")),
            },
            c if c.is_ascii_digit() => self.number(c),
            c => Err(offence(c, "looking for beginning of value")),
        }
    }

    fn object(&mut self, depth: usize) -> Scan {
        let mut is_first = true;
        loop {
            match self.next_token()? {
                b'}' if is_first => return Ok(()),
                b'"' => self.string()?,
                c => return Err(offence(c, "looking for beginning of object key string")),
            }
            is_first = false;
            match self.next_token()? {
                b':' => {}
                c => return Err(offence(c, "after object key")),
            }
            self.value(depth + 1)?;
            match self.next_token()? {
                b',' => {}
                b'}' => return Ok(()),
                c => return Err(offence(c, "after object key:value pair")),
            }
        }
    }

    fn array(&mut self, depth: usize) -> Scan {
        self.skip_space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.value(depth + 1)?;
            match self.next_token()? {
                b',' => {}
                b']' => return Ok(()),
                c => return Err(offence(c, "after array element")),
            }
        }
    }

    fn string(&mut self) -> Scan {
        loop {
            match self.next()? {
                b'"' => return Ok(()),
                b'\\' => match self.next()? {
                    b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => {}
                    b'u' => {
                        for _ in 0..4 {
                            let c = self.next()?;
                            if !c.is_ascii_hexdigit() {
                                return Err(offence(c, "in \\u hexadecimal character escape"));
                            }
                        }
                    }
                    c => return Err(offence(c, "in string escape code")),
                },
                c if c < 0x20 => return Err(offence(c, "in string literal")),
                _ => {}
            }
        }
    }

    fn literal(&mut self, word: &str) -> Scan {
        for expected in word.bytes().skip(1) {
            let c = self.next()?;
            if c != expected {
                let context = format!("in literal {word} (expecting '{}')", char::from(expected));
                return Err(offence(c, &context));
            }
        }
        Ok(())
    }

    fn number(&mut self, first: u8) -> Scan {
        if first != b'0' {
            self.digits();
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            let c = self.next()?;
            if !c.is_ascii_digit() {
                return Err(offence(c, "after decimal point in numeric literal"));
            }
            self.digits();
        }
        if self.peek().is_some_and(|c| matches!(c, b'e' | b'E')) {
            self.at += 1;
            let mut c = self.next()?;
            if matches!(c, b'+' | b'-') {
                c = self.next()?;
            }
            if !c.is_ascii_digit() {
                return Err(offence(c, "in exponent of numeric literal"));
            }
            self.digits();
        }
        Ok(())
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
    }
}

/// What Go says of JSON that should be an object.
pub(crate) fn no_map(value: &serde_json::Value) -> String {
    format!("json: cannot unmarshal {} into Go value of type map[string]interface {{}}", kind(value))
}

/// What Go says of JSON that should be an object with a version and a kind.
pub(crate) fn no_type_meta(kind: &str) -> String {
    format!(
        "json: cannot unmarshal {kind} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind \
         string \"json:\\\"kind,omitempty\\\"\" }}"
    )
}

/// What Go's decoder calls a value.
pub(crate) fn kind(value: &serde_json::Value) -> &'static str {
    use serde_json::Value;
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_s_own_words() {
        for (text, wanted) in [
            ("{bad", "invalid character 'b' looking for beginning of object key string"),
            ("", "unexpected end of JSON input"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{\"a\":1 2}", "invalid character '2' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
            ("{} x", "invalid character 'x' after top-level value"),
            ("\u{cf}", "invalid character 'Ã' looking for beginning of value"),
            ("tru", "unexpected end of JSON input"),
            ("trux", "invalid character 'x' in literal true (expecting 'e')"),
            ("\"\\x\"", "invalid character 'x' in string escape code"),
            ("{\"a\":1,}", "invalid character '}' looking for beginning of object key string"),
            ("-x", "invalid character 'x' in numeric literal"),
        ] {
            assert_eq!(syntax_error(text.as_bytes()), wanted, "{text}");
        }
        assert_eq!(syntax_error("[".repeat(200_000).as_bytes()), "exceeded max depth");
    }
}
