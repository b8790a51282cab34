//! The parameters behind a scheme name: `name=token, name="quoted"` (RFC 9110 §11.2), one after the other.
//!
//! Pure, and borrows: a value is copied only to take quoting backslashes out.

use std::borrow::Cow;

/// One parameter, its value without quotes and backslashes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Param<'a> {
    pub(super) name: &'a [u8],
    pub(super) value: Cow<'a, [u8]>,
    pub(super) quoted: bool,
}

/// Not a list of parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadParam;

/// Reads a list from its beginning; after an error there is nothing more.
#[derive(Debug)]
pub(super) struct Params<'a> {
    rest: &'a [u8],
}

impl<'a> Params<'a> {
    pub(super) fn new(list: &'a [u8]) -> Self {
        Self { rest: list }
    }

    fn param(&mut self) -> Result<Param<'a>, BadParam> {
        let name = self.token()?;
        self.skip_blanks();
        self.expect(b'=')?;
        self.skip_blanks();
        let quoted = self.rest.first() == Some(&b'"');
        let value = if quoted {
            self.quoted_string()?
        } else {
            Cow::Borrowed(self.token()?)
        };
        self.skip_blanks();
        if !self.rest.is_empty() {
            self.expect(b',')?;
        }
        Ok(Param {
            name,
            value,
            quoted,
        })
    }

    fn token(&mut self) -> Result<&'a [u8], BadParam> {
        let end = self.rest.iter().position(|byte| !is_token(*byte));
        let (token, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        if token.is_empty() {
            return Err(BadParam);
        }
        self.rest = rest;
        Ok(token)
    }

    fn quoted_string(&mut self) -> Result<Cow<'a, [u8]>, BadParam> {
        self.expect(b'"')?;
        let text = self.rest;
        let mut end = 0;
        let mut escapes = false;
        loop {
            match text.get(end) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escapes = true;
                    end += 1;
                    if !text.get(end).is_some_and(|byte| is_text(*byte)) {
                        return Err(BadParam);
                    }
                }
                Some(byte) if is_text(*byte) => {}
                Some(_) | None => return Err(BadParam),
            }
            end += 1;
        }
        self.rest = &text[end + 1..];
        Ok(if escapes {
            Cow::Owned(without_backslashes(&text[..end]))
        } else {
            Cow::Borrowed(&text[..end])
        })
    }

    fn expect(&mut self, byte: u8) -> Result<(), BadParam> {
        match self.rest.split_first() {
            Some((first, rest)) if *first == byte => {
                self.rest = rest;
                Ok(())
            }
            Some(_) | None => Err(BadParam),
        }
    }

    fn skip_blanks(&mut self) {
        while let Some((b' ' | b'\t', rest)) = self.rest.split_first() {
            self.rest = rest;
        }
    }
}

impl<'a> Iterator for Params<'a> {
    type Item = Result<Param<'a>, BadParam>;

    fn next(&mut self) -> Option<Self::Item> {
        // A list may have empty places (RFC 9110 §5.6.1.2).
        while let Some((b' ' | b'\t' | b',', rest)) = self.rest.split_first() {
            self.rest = rest;
        }
        if self.rest.is_empty() {
            return None;
        }
        let param = self.param();
        if param.is_err() {
            self.rest = &[];
        }
        Some(param)
    }
}

/// tchar of RFC 9110 §5.6.2.
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What may stand in a quoted string, the quote and the backslash aside: no control but the tab.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || byte >= b' ' && byte != 0x7F
}

fn without_backslashes(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        let byte = if *byte == b'\\' {
            bytes.next()
        } else {
            Some(byte)
        };
        plain.extend(byte);
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Parameters as `name=value`, quoted ones in angle brackets; `!` where the list breaks off.
    #[track_caller]
    fn check(list: &str, want: &str) {
        let seen: Vec<_> = Params::new(list.as_bytes())
            .map(|param| match param {
                Ok(param) => {
                    let name = String::from_utf8_lossy(param.name);
                    let value = String::from_utf8_lossy(&param.value);
                    if param.quoted {
                        format!("{name}=<{value}>")
                    } else {
                        format!("{name}={value}")
                    }
                }
                Err(BadParam) => "!".to_owned(),
            })
            .collect();
        assert_eq!(seen.join(" "), want, "{list}");
    }

    #[test]
    fn lists() {
        check("", "");
        check(" , ,\t", "");
        check("a=1", "a=1");
        check("a=1,b=\"2\"", "a=1 b=<2>");
        check(",, a = 1 ,\tb\t=\t\"x, y=z\" ,", "a=1 b=<x, y=z>");
        check(r#"a="q\"\\\z""#, r#"a=<q"\z>"#);
        check("a=\"\"", "a=<>");
        check("a=\"ü\t\"", "a=<ü\t>");
        check("u*=UTF-8''J%C3%A4s", "u*=UTF-8''J%C3%A4s");
    }

    #[test]
    fn broken_lists() {
        check("a", "!");
        check("a=", "!");
        check("=1", "!");
        check("a=1 b=2", "!");
        check("a=1,b=\"2", "a=1 !");
        check("a=\"x\\", "!");
        check("a=\"x\"y", "!");
        check("a=\"x\ny\"", "!");
        check("a=\"x\\\ny\"", "!");
        check("a=/path", "!");
        check("a=ü", "!");
    }

    proptest! {
        #[test]
        fn any_bytes_end(list: Vec<u8>) {
            prop_assert!(Params::new(&list).count() <= list.len());
        }
    }
}
