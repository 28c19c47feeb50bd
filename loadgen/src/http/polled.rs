//! What an answer to a long poll means.

use super::Answer;

/// The meaning of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polled<'a> {
    /// The topic's value, and where the topic stands.
    Value {
        /// The epoch in which `seq` is counted.
        epoch: &'a str,
        /// The value's seq.
        seq: u64,
        /// When the server took it, microseconds since 1970.
        ts_us: i64,
        /// The publisher's bytes.
        payload: &'a [u8],
    },
    /// The topic never had one.
    NoValue,
    /// The wait was over and nothing had come.
    Nothing,
    /// The server refuses with this status.
    Refused(u16),
}

impl<'a> Polled<'a> {
    /// Reads an answer. The error is a sentence.
    pub fn read(answer: &Answer<'a>) -> Result<Polled<'a>, String> {
        match answer.status {
            200 => {}
            204 | 304 => return Ok(Polled::Nothing),
            404 => return Ok(Polled::NoValue),
            status => return Ok(Polled::Refused(status)),
        }
        let header = |name: &str| {
            let value = answer.headers.get(name);
            value.ok_or_else(|| format!("an answer without {name}"))
        };
        let epoch = header("Fanfare-Epoch")?;
        let text = header("Fanfare-Seq")?;
        let seq = text.parse().map_err(|_| format!("{text:?} is no seq"))?;
        let text = header("Fanfare-Ts")?;
        let ts_us = text.parse().map_err(|_| format!("{text:?} is no time"))?;
        let tag = header("ETag")?;
        if tag != format!("\"{epoch}:{seq}\"") {
            return Err(format!("the ETag {tag} is not that of {epoch}:{seq}"));
        }
        Ok(Polled::Value {
            epoch,
            seq,
            ts_us,
            payload: answer.body,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::AnswerReader;

    fn read(head: &str) -> String {
        let mut said = String::new();
        let text = format!("HTTP/1.1 {head}\r\nContent-Length: 2\r\n\r\n{{}}");
        let mut reader = AnswerReader::default();
        let read = reader.read(text.as_bytes(), |answer| {
            said = format!("{:?}", Polled::read(&answer))
        });
        // What has no body is followed by what is no answer.
        if let Err(error) = read {
            assert!(!said.is_empty(), "{error}");
        }
        said
    }

    #[test]
    fn answers_mean_a_value_or_none() {
        let whole =
            "200 OK\r\nETag: \"k3:7\"\r\nFanfare-Epoch: k3\r\nFanfare-Seq: 7\r\nFanfare-Ts: 5";
        let expected = r#"Ok(Value { epoch: "k3", seq: 7, ts_us: 5, payload: [123, 125] })"#;
        assert_eq!(read(whole), expected);
        assert_eq!(read("204 No Content"), "Ok(Nothing)");
        assert_eq!(read("304 Not Modified"), "Ok(Nothing)");
        assert_eq!(read("404 Not Found"), "Ok(NoValue)");
        assert_eq!(read("503 Service Unavailable"), "Ok(Refused(503))");
        for (part, other, sentence) in [
            ("Fanfare-Seq: 7", "Fanfare-Seq: x", "is no seq"),
            ("Fanfare-Seq: 7", "X: 7", "an answer without Fanfare-Seq"),
            ("Fanfare-Ts: 5", "Fanfare-Ts: ", "is no time"),
            ("\"k3:7\"", "\"k3:6\"", "is not that of k3:7"),
            ("\"k3:7\"", "W/\"k3:7\"", "is not that of k3:7"),
            (
                "Fanfare-Epoch: k3",
                "X: k3",
                "an answer without Fanfare-Epoch",
            ),
        ] {
            let said = read(&whole.replace(part, other));
            assert!(
                said.starts_with("Err") && said.contains(sentence),
                "{other}: {said}"
            );
        }
    }
}
