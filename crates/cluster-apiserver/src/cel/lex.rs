//! From the text of an expression to its tokens.

use super::problems::Problem;

/// A token, and where it begins, counted in characters.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) at: u32,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Ident(Box<str>),
    Int(u64),
    Uint(u64),
    Double(f64),
    Text(Box<str>),
    Bytes(Box<[u8]>),
    /// An operator, a bracket or `true`, `false`, `null`, `in`.
    Sign(&'static str),
    End,
}

/// Longest first.
const SIGNS: [&str; 26] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "=", "!", "+", "-", "*", "/", "%", "?", ":", ".", ",", "(", ")", "[",
    "]", "{", "}", "|",
];
const WORDS: [&str; 4] = ["true", "false", "null", "in"];
/// Kept for languages that expressions are embedded in.
const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// Whether a name cannot stand alone.
pub(super) fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}

pub(super) fn tokens(source: &str) -> Result<Vec<Token>, Problem> {
    let mut lexer = Lexer { chars: source.chars().collect(), next: 0 };
    let mut tokens = Vec::new();
    loop {
        let token = lexer.token()?;
        let is_end = token.kind == Kind::End;
        tokens.push(token);
        if is_end {
            return Ok(tokens);
        }
    }
}

struct Lexer {
    chars: Vec<char>,
    next: usize,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.next + ahead).copied()
    }

    fn problem(&self, at: usize, text: impl Into<String>) -> Problem {
        Problem { at: position(at), text: text.into() }
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let rest = self.chars.get(self.next..).unwrap_or_default();
        let taken: String = rest.iter().take_while(|c| wanted(**c)).collect();
        self.next += taken.chars().count();
        taken
    }

    fn skip_space(&mut self) {
        loop {
            self.take_while(|c| matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{c}'));
            if self.peek(0) != Some('/') || self.peek(1) != Some('/') {
                return;
            }
            self.take_while(|c| c != '\n');
        }
    }

    fn token(&mut self) -> Result<Token, Problem> {
        self.skip_space();
        let at = self.next;
        let kind = match self.peek(0) {
            None => Kind::End,
            Some(c) if c.is_ascii_digit() => self.number()?,
            Some('.') if self.peek(1).is_some_and(|c| c.is_ascii_digit()) => self.number()?,
            Some('"' | '\'') => self.quoted(false, false)?,
            Some(c) if c.is_ascii_alphabetic() || c == '_' => self.word()?,
            Some(c) => {
                let starts = |sign: &&str| sign.chars().enumerate().all(|(i, c)| self.peek(i) == Some(c));
                let Some(sign) = SIGNS.into_iter().find(starts).filter(|sign| !matches!(*sign, "=" | "|")) else {
                    return Err(self.problem(at, format!("Syntax error: token recognition error at: '{c}'")));
                };
                self.next += sign.len();
                Kind::Sign(sign)
            }
        };
        Ok(Token { at: position(at), kind })
    }

    fn word(&mut self) -> Result<Kind, Problem> {
        let word = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
        let prefix = word.to_ascii_lowercase();
        if matches!(self.peek(0), Some('"' | '\'')) && matches!(prefix.as_str(), "r" | "b" | "br" | "rb") {
            return self.quoted(prefix.contains('r'), prefix.contains('b'));
        }
        Ok(match WORDS.into_iter().find(|known| *known == word) {
            Some(known) => Kind::Sign(known),
            None => Kind::Ident(word.into()),
        })
    }

    fn number(&mut self) -> Result<Kind, Problem> {
        let at = self.next;
        if self.peek(0) == Some('0') && matches!(self.peek(1), Some('x' | 'X')) {
            self.next += 2;
            let digits = self.take_while(|c| c.is_ascii_hexdigit());
            return self.whole(at, u64::from_str_radix(&digits, 16).ok());
        }
        let mut text = self.take_while(|c| c.is_ascii_digit());
        let mut is_double = false;
        if self.peek(0) == Some('.') && self.peek(1).is_some_and(|c| c.is_ascii_digit()) {
            is_double = true;
            self.next += 1;
            text.push('.');
            text += &self.take_while(|c| c.is_ascii_digit());
        }
        if matches!(self.peek(0), Some('e' | 'E')) {
            let signed = usize::from(matches!(self.peek(1), Some('+' | '-')));
            if self.peek(1 + signed).is_some_and(|c| c.is_ascii_digit()) {
                is_double = true;
                text.extend(self.chars.iter().skip(self.next).take(1 + signed));
                self.next += 1 + signed;
                text += &self.take_while(|c| c.is_ascii_digit());
            }
        }
        if is_double {
            return text.parse().map(Kind::Double).map_err(|_| self.problem(at, "invalid double literal"));
        }
        self.whole(at, text.parse().ok())
    }

    fn whole(&mut self, at: usize, value: Option<u64>) -> Result<Kind, Problem> {
        if matches!(self.peek(0), Some('u' | 'U')) {
            self.next += 1;
            return value.map(Kind::Uint).ok_or_else(|| self.problem(at, "invalid uint literal"));
        }
        value.map(Kind::Int).ok_or_else(|| self.problem(at, "invalid int literal"))
    }

    /// A text or bytes, from the opening quotation mark on.
    fn quoted(&mut self, is_raw: bool, is_bytes: bool) -> Result<Kind, Problem> {
        let at = self.next;
        let mark = self.peek(0).unwrap_or_default();
        let is_long = self.peek(1) == Some(mark) && self.peek(2) == Some(mark);
        let marks = if is_long { 3 } else { 1 };
        self.next += marks;
        let mut bytes = Vec::new();
        loop {
            let Some(c) = self.peek(0).filter(|c| is_long || !matches!(c, '\n' | '\r')) else {
                return Err(self.problem(at, format!("Syntax error: token recognition error at: '{mark}'")));
            };
            if (0..marks).all(|i| self.peek(i) == Some(mark)) {
                self.next += marks;
                break;
            }
            self.next += 1;
            if c == '\\' && !is_raw {
                self.escape(is_bytes, &mut bytes)?;
                continue;
            }
            bytes.extend(c.encode_utf8(&mut [0; 4]).bytes());
            if c == '\\'
                && let Some(next) = self.peek(0)
            {
                // In a raw text the mark after a backslash does not end it.
                self.next += 1;
                bytes.extend(next.encode_utf8(&mut [0; 4]).bytes());
            }
        }
        if is_bytes {
            return Ok(Kind::Bytes(bytes.into()));
        }
        let text = String::from_utf8(bytes).map_err(|_| self.problem(at, "invalid unicode in a string literal"))?;
        Ok(Kind::Text(text.into()))
    }

    fn escape(&mut self, is_bytes: bool, bytes: &mut Vec<u8>) -> Result<(), Problem> {
        let at = self.next;
        let c = self.peek(0).unwrap_or_default();
        self.next += 1;
        let simple = match c {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 11,
            '\\' | '?' | '"' | '\'' | '`' => c as u8,
            _ => 0,
        };
        if simple != 0 {
            bytes.push(simple);
            return Ok(());
        }
        let (digits, radix) = match c {
            'x' | 'X' => (2, 16),
            'u' if !is_bytes => (4, 16),
            'U' if !is_bytes => (8, 16),
            '0'..='3' => {
                self.next -= 1;
                (3, 8)
            }
            _ => return Err(self.problem(at, "Syntax error: invalid escape sequence in a string literal")),
        };
        let text: String = self.chars.iter().skip(self.next).take(digits).collect();
        self.next += digits;
        let code = u32::from_str_radix(&text, radix).ok().filter(|_| text.len() == digits);
        let wrong = || self.problem(at, "Syntax error: invalid escape sequence in a string literal");
        let code = code.ok_or_else(wrong)?;
        if is_bytes {
            bytes.push(u8::try_from(code).map_err(|_| wrong())?);
        } else {
            bytes.extend(char::from_u32(code).ok_or_else(wrong)?.encode_utf8(&mut [0; 4]).bytes());
        }
        Ok(())
    }
}

fn position(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(source: &str) -> Vec<Kind> {
        tokens(source).expect("tokens").into_iter().map(|token| token.kind).collect()
    }

    #[test]
    fn numbers_texts_and_words() {
        assert_eq!(
            kinds("1 0x1F 2u 1.5 1e3 .5")[..6],
            [Kind::Int(1), Kind::Int(31), Kind::Uint(2), Kind::Double(1.5), Kind::Double(1000.0), Kind::Double(0.5),]
        );
        assert_eq!(
            kinds(r#"'a\n\u00e9' r'\d' b'\xff' """x"y""" // end"#),
            [
                Kind::Text("a\né".into()),
                Kind::Text(r"\d".into()),
                Kind::Bytes([255].into()),
                Kind::Text("x\"y".into()),
                Kind::End,
            ]
        );
        assert_eq!(
            kinds("a.b in null")[..],
            [
                Kind::Ident("a".into()),
                Kind::Sign("."),
                Kind::Ident("b".into()),
                Kind::Sign("in"),
                Kind::Sign("null"),
                Kind::End,
            ]
        );
        for bad in ["'a", "\"a\nb\"", r"'\q'", "a = b", "#", "99999999999999999999"] {
            assert!(tokens(bad).is_err(), "{bad}");
        }
    }
}
