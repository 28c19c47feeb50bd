//! `Sec-WebSocket-Extensions`: names with parameters, in a list (RFC 6455, section 9.1).
//!
//! Read by both sides: a server reads what is offered, a client what was chosen. What the names mean
//! is the business of the extension, see [`crate::deflate`].

use std::borrow::Cow;

use super::http::Headers;

/// One element of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension<'h> {
    /// Which extension.
    pub name: &'h str,
    /// Its parameters, in the order they came.
    pub params: Vec<Param<'h>>,
}

/// A parameter, with or without a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param<'h> {
    /// Which parameter.
    pub name: &'h str,
    /// A token; one that was quoted has lost its quotes and backslashes.
    pub value: Option<Cow<'h, str>>,
}

/// The header is not of the form that the RFC gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("malformed Sec-WebSocket-Extensions")]
pub struct MalformedExtensions;

impl<'b> Headers<'b> {
    /// The elements of all `Sec-WebSocket-Extensions` headers, in their order. Empty elements are
    /// passed over (RFC 9110, section 5.6.1).
    ///
    /// # Errors
    /// Anything but names with parameters whose values are tokens, quoted or not.
    pub fn extensions(&self) -> Result<Vec<Extension<'b>>, MalformedExtensions> {
        let mut extensions = Vec::new();
        for value in self.all("sec-websocket-extensions") {
            let mut scanner = Scanner { rest: value };
            loop {
                scanner.skip_space();
                if scanner.rest.is_empty() {
                    break;
                }
                if scanner.eat(',') {
                    continue;
                }
                extensions.push(scanner.extension().ok_or(MalformedExtensions)?);
                if !scanner.rest.is_empty() && !scanner.eat(',') {
                    return Err(MalformedExtensions);
                }
            }
        }
        Ok(extensions)
    }
}

struct Scanner<'h> {
    rest: &'h str,
}

impl<'h> Scanner<'h> {
    fn extension(&mut self) -> Option<Extension<'h>> {
        let name = self.token()?;
        let mut params = Vec::new();
        self.skip_space();
        while self.eat(';') {
            self.skip_space();
            params.push(self.param()?);
            self.skip_space();
        }
        Some(Extension { name, params })
    }

    fn param(&mut self) -> Option<Param<'h>> {
        let name = self.token()?;
        self.skip_space();
        if !self.eat('=') {
            return Some(Param { name, value: None });
        }
        self.skip_space();
        let value = if self.eat('"') {
            Cow::Owned(self.quoted()?)
        } else {
            Cow::Borrowed(self.token()?)
        };
        let value = Some(value);
        Some(Param { name, value })
    }

    /// What stands up to the closing quote. It must be a token by then.
    fn quoted(&mut self) -> Option<String> {
        let mut value = String::new();
        let mut chars = self.rest.char_indices();
        while let Some((at, char)) = chars.next() {
            match char {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    let is_token = !value.is_empty() && value.bytes().all(is_token_byte);
                    return is_token.then_some(value);
                }
                '\\' => value.push(chars.next()?.1),
                char => value.push(char),
            }
        }
        None
    }

    fn token(&mut self) -> Option<&'h str> {
        let end = self
            .rest
            .bytes()
            .position(|byte| !is_token_byte(byte))
            .unwrap_or(self.rest.len());
        // A byte that is not part of a token may be the first of a character, never one inside it.
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!token.is_empty()).then_some(token)
    }

    fn eat(&mut self, char: char) -> bool {
        let rest = self.rest.strip_prefix(char);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }
}

/// RFC 9110, section 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::super::http::{HeadLimits, parse_request};
    use super::*;

    /// The list of one or more headers, written out plainly.
    fn read(values: &[&str]) -> Result<String, MalformedExtensions> {
        let mut head = "GET / HTTP/1.1\r\nHost: a\r\n".to_owned();
        for value in values {
            head += &format!("Sec-WebSocket-Extensions: {value}\r\n");
        }
        head += "\r\n";
        let limits = HeadLimits {
            head_bytes_max: 4096,
            line_bytes_max: 2048,
        };
        let (request, _) = parse_request(head.as_bytes(), &limits).unwrap().unwrap();
        let extensions = request.headers.extensions()?;
        let plain = |extension: Extension<'_>| {
            let params = extension.params.iter().map(|param| match &param.value {
                Some(value) => format!("{}={value}", param.name),
                None => param.name.to_owned(),
            });
            let words: Vec<String> = std::iter::once(extension.name.to_owned())
                .chain(params)
                .collect();
            words.join(";")
        };
        let all: Vec<String> = extensions.into_iter().map(plain).collect();
        Ok(all.join(" "))
    }

    #[test]
    fn lists_are_read_in_every_form_the_grammar_has() {
        let table: &[(&[&str], &str)] = &[
            (&[], ""),
            (&[""], ""),
            (&["foo"], "foo"),
            (&["foo, bar; baz=2"], "foo bar;baz=2"),
            (&["foo;a;b=1 ; c = \"2\""], "foo;a;b=1;c=2"),
            (&["foo;a=\"\\1\\0\", ,bar,"], "foo;a=10 bar"),
            (&["foo", "bar;x"], "foo bar;x"),
            (&["foo;a=1;a=2"], "foo;a=1;a=2"),
            (&["x-!#$%&'*+-.^_`|~y"], "x-!#$%&'*+-.^_`|~y"),
        ];
        for (values, expected) in table {
            assert_eq!(read(values).as_deref(), Ok(*expected), "{values:?}");
        }
    }

    #[test]
    fn what_is_not_of_that_form_is_refused() {
        for value in [
            ";",
            "=",
            "foo;",
            "foo;;a",
            "foo a",
            "foo;a=",
            "foo;=1",
            "foo;a b",
            "foo;a=\"1",
            "foo;a=\"\"",
            "foo;a=\"1 2\"",
            "foo;a=\"1\\",
            "foo;a=1\"",
            "foo;a=\"1\"2",
            "\"foo\"",
            "foo;a=ü",
            "föö",
            "foo/bar",
            "foo;\"a\"",
            "foo;a=\",\"",
        ] {
            assert_eq!(read(&[value]), Err(MalformedExtensions), "{value}");
        }
    }
}
