//! Any bytes as requests on one connection, heads and bodies: the same requests are read however the bytes are cut, and the connection
//! ends at the same byte for the same reason.

#![no_main]

use fanfare_wire::handshake::{BodyError, BodyReader, HeadLimits, RequestError, parse_request};
use libfuzzer_sys::fuzz_target;

const LIMITS: HeadLimits = HeadLimits {
    head_bytes_max: 400,
    line_bytes_max: 200,
};
const BODY_BYTES_MAX: usize = 300;

/// What was read: requests as `METHOD path?query`, each with its body, and why no more were.
#[derive(Debug, Default, PartialEq)]
struct Read {
    requests: Vec<(String, Vec<u8>)>,
    end: Option<End>,
}

#[derive(Debug, PartialEq)]
enum End {
    Head(RequestError),
    Body(BodyError),
}

/// One connection's input, as the server keeps it.
#[derive(Default)]
struct Connection {
    kept: Vec<u8>,
    body: Option<(String, BodyReader)>,
    read: Read,
}

impl Connection {
    fn take(&mut self, bytes: &[u8]) {
        self.kept.extend_from_slice(bytes);
        let kept = std::mem::take(&mut self.kept);
        let mut input = &kept[..];
        while self.read.end.is_none() && !input.is_empty() {
            let before = input.len();
            if let Err(end) = self.step(&mut input) {
                self.read.end = Some(end);
            }
            if input.len() == before && self.body.is_none() {
                break;
            }
        }
        self.kept = input.to_vec();
    }

    /// Reads one head, or as much of a body as is there.
    fn step(&mut self, input: &mut &[u8]) -> Result<(), End> {
        if let Some((request, mut body)) = self.body.take() {
            if body.read(input).map_err(End::Body)? {
                self.read.requests.push((request, body.into_bytes()));
            } else {
                assert!(input.is_empty(), "a body takes all that is there until its end");
                assert!(body.buffered_bytes() <= 2 * BODY_BYTES_MAX);
                self.body = Some((request, body));
            }
            return Ok(());
        }
        let Some((request, head_bytes)) = parse_request(input, &LIMITS).map_err(End::Head)? else {
            return Ok(());
        };
        let framing = request.framing().map_err(End::Body)?;
        let body = BodyReader::new(framing, BODY_BYTES_MAX).map_err(End::Body)?;
        let name = format!("{} {}?{:?}", request.method, request.path, request.query);
        *input = &input[head_bytes..];
        self.body = Some((name, body));
        // One without a body is whole already.
        let (name, mut body) = self.body.take().expect("it was just put there");
        if body.read(&mut &[][..]).map_err(End::Body)? {
            self.read.requests.push((name, body.into_bytes()));
        } else {
            self.body = Some((name, body));
        }
        Ok(())
    }
}

fn read<'b>(pieces: impl Iterator<Item = &'b [u8]>) -> Read {
    let mut connection = Connection::default();
    for piece in pieces {
        connection.take(piece);
        if connection.read.end.is_some() {
            break;
        }
    }
    connection.read
}

fuzz_target!(|data: &[u8]| {
    let Some((&seed, data)) = data.split_first() else {
        return;
    };
    let whole = read(std::iter::once(data));
    assert_eq!(read(data.chunks(1)), whole, "byte by byte");
    assert_eq!(read(data.chunks(usize::from(seed) + 1)), whole, "in pieces");
    let (before, behind) = data.split_at(usize::from(seed).min(data.len()));
    assert_eq!(read([before, behind].into_iter()), whole, "cut once");
});
