//! Says what is wrong with YAML in the words of Go's library, because those stand in Kubernetes' answers: for what begins as JSON does, with a
//! brace or a bracket, which is what clients send.
//!
//! Only asked after parsing has failed; it finds the first offence and names it.

/// Deeper texts are given up on, as this recurses.
const MAX_DEPTH: usize = 200;

/// What Go's YAML library would say about `text`; `None` if it does not begin with a brace or a bracket, or if nothing is wrong with that.
pub(super) fn error(text: &[u8]) -> Option<String> {
    let text = text.trim_ascii_start();
    let mut reader = Reader { text, at: 0, line: 0, next: None };
    text.first().filter(|first| matches!(first, b'{' | b'['))?;
    reader.node(0).err().flatten().map(|error| {
        let line = if error.line > 0 { format!("line {}: ", error.line) } else { String::new() };
        format!("{line}{}", error.text)
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    /// One of `{}[],:`.
    Mark(u8),
    Scalar,
    End,
}

struct Offence {
    line: usize,
    text: &'static str,
}

/// `None` where this gives up.
type Read<T> = Result<T, Option<Offence>>;

struct Reader<'t> {
    text: &'t [u8],
    at: usize,
    line: usize,
    next: Option<(Token, usize)>,
}

impl Reader<'_> {
    fn node(&mut self, depth: usize) -> Read<()> {
        if depth > MAX_DEPTH {
            return Err(None);
        }
        match self.take()?.0 {
            Token::Scalar => Ok(()),
            Token::Mark(b'{') => self.entries(b'}', "did not find expected ',' or '}'", depth),
            Token::Mark(b'[') => self.entries(b']', "did not find expected ',' or ']'", depth),
            other => self.refuse(other, "did not find expected node content"),
        }
    }

    /// The entries up to the mark that ends them: items, or pairs, which stand in lists as well.
    fn entries(&mut self, end: u8, expected: &'static str, depth: usize) -> Read<()> {
        let mut is_first = true;
        while !self.skips(end)? {
            if !is_first && !self.skips(b',')? {
                return self.refuse_next(expected);
            }
            is_first = false;
            if self.peek()?.0 != Token::Mark(end) {
                self.node(depth + 1)?;
                if self.skips(b':')? && !self.ends_value(end)? {
                    self.node(depth + 1)?;
                }
            }
        }
        Ok(())
    }

    fn ends_value(&mut self, end: u8) -> Read<bool> {
        let next = self.peek()?.0;
        Ok(next == Token::Mark(b',') || next == Token::Mark(end))
    }

    fn skips(&mut self, mark: u8) -> Read<bool> {
        let is_next = self.peek()?.0 == Token::Mark(mark);
        if is_next {
            self.next = None;
        }
        Ok(is_next)
    }

    fn refuse_next(&mut self, text: &'static str) -> Read<()> {
        let next = self.take()?.0;
        self.refuse(next, text)
    }

    fn refuse(&self, found: Token, text: &'static str) -> Read<()> {
        // The end stands on a line of its own.
        let is_after_text = self.text.last().is_some_and(|last| *last != b'\n');
        Err(Some(Offence { line: self.line + usize::from(found == Token::End && is_after_text), text }))
    }

    /// What the scanner refuses, which counts lines from one, but not the first.
    fn unreadable<T>(&self, text: &'static str) -> Read<T> {
        Err(Some(Offence { line: if self.line > 0 { self.line + 1 } else { 0 }, text }))
    }

    fn take(&mut self) -> Read<(Token, usize)> {
        let token = self.peek()?;
        self.next = None;
        self.line = token.1;
        Ok(token)
    }

    fn peek(&mut self) -> Read<(Token, usize)> {
        if let Some(next) = self.next {
            return Ok(next);
        }
        let next = self.scan()?;
        self.next = Some(next);
        Ok(next)
    }

    fn byte(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn step(&mut self) {
        if self.byte() == Some(b'\n') {
            self.line += 1;
        }
        self.at += 1;
    }

    fn scan(&mut self) -> Read<(Token, usize)> {
        while self.byte().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.step();
        }
        let Some(byte) = self.byte() else { return Ok((Token::End, self.line)) };
        let line = self.line;
        match byte {
            b'{' | b'}' | b'[' | b']' | b',' | b':' => {
                self.step();
                return Ok((Token::Mark(byte), line));
            }
            b'"' | b'\'' => self.quoted(byte)?,
            b'@' | b'`' | b'%' => return self.unreadable("found character that cannot start any token"),
            // Anchors, tags, comments and the like: nothing that JSON has.
            b'&' | b'*' | b'!' | b'#' | b'?' | b'|' | b'>' => return Err(None),
            _ => {
                while self.byte().is_some_and(|byte| !matches!(byte, b'{' | b'}' | b'[' | b']' | b',' | b':' | b'\n')) {
                    self.step();
                }
            }
        }
        Ok((Token::Scalar, line))
    }

    fn quoted(&mut self, quote: u8) -> Read<()> {
        self.step();
        loop {
            match self.byte() {
                None => return self.unreadable("found unexpected end of stream"),
                Some(b'\\') if quote == b'"' => {
                    self.step();
                    self.escape()?;
                }
                Some(byte) => {
                    self.step();
                    if byte == quote && !(quote == b'\'' && self.byte() == Some(quote)) {
                        return Ok(());
                    }
                    if byte == quote {
                        self.step();
                    }
                }
            }
        }
    }

    fn escape(&mut self) -> Read<()> {
        let digits = match self.byte() {
            Some(b'x') => 2,
            Some(b'u') => 4,
            Some(b'U') => 8,
            Some(byte) if b"0abt\tnvfre \"'/\\N_LP\n\r".contains(&byte) => 0,
            Some(_) => return self.unreadable("found unknown escape character"),
            None => return self.unreadable("found unexpected end of stream"),
        };
        self.step();
        for _ in 0..digits {
            if !self.byte().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                return self.unreadable("did not find expected hexdecimal number");
            }
            self.step();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offences_are_named_as_go_names_them() {
        for (text, wanted) in [
            ("{", "line 1: did not find expected node content"),
            ("{\"a\":1", "line 1: did not find expected ',' or '}'"),
            ("{\"a\"", "line 1: did not find expected ',' or '}'"),
            ("{\"a\":", "line 1: did not find expected node content"),
            ("[1", "line 1: did not find expected ',' or ']'"),
            ("[1,", "line 1: did not find expected node content"),
            ("{\"a\":[1}", "did not find expected ',' or ']'"),
            ("{\"a\":1]", "did not find expected ',' or '}'"),
            ("{\"a\" 1}", "did not find expected ',' or '}'"),
            ("{a: b", "line 1: did not find expected ',' or '}'"),
            ("{\"a\":1,,}", "did not find expected node content"),
            ("{,}", "did not find expected node content"),
            ("{'a': 'b", "found unexpected end of stream"),
            ("{\"a\":\"\\x\"}", "did not find expected hexdecimal number"),
            ("{\"a\": \"b\" \"c\": 1}", "did not find expected ',' or '}'"),
            ("{\n\"a\": 1\n\"b\": 2\n}", "line 2: did not find expected ',' or '}'"),
            ("{\n\"a\": [1,\n2", "line 3: did not find expected ',' or ']'"),
        ] {
            assert_eq!(error(text.as_bytes()).as_deref(), Some(wanted), "{text}");
        }
        for text in ["", "a: {", "{\"a\": [1, 'it''s', {b: }], c: }", "[]", "{}", "[a: b]", "{&a 1"] {
            assert_eq!(error(text.as_bytes()), None, "{text}");
        }
    }
}
