//! dnstap: what a resolver tells of the messages it handled, and the frames it tells it in.
//!
//! Frame Streams (the `fstrm` library's protocol, bidirectional form) carry Protocol Buffers of `dnstap.proto`. Here a
//! control frame's payload and a data frame's payload are read; cutting the stream into frames is the caller's, within
//! [`FRAME_BYTES_MAX`] and [`CONTROL_BYTES_MAX`]. DNS messages inside are handed out as they are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use prost::Message as _;

use super::reader::{Malformed, Reader};

/// The content type of dnstap, as control frames name it.
pub const CONTENT_TYPE: &[u8] = b"protobuf:dnstap.Dnstap";
/// Longest data frame: the longest DNS message twice (query and response) and what stands around them.
pub const FRAME_BYTES_MAX: usize = 2 * 65_535 + 4_096;
/// Longest control frame (`FSTRM_CONTROL_FRAME_LENGTH_MAX`).
pub const CONTROL_BYTES_MAX: usize = 512;

/// Field of a control frame that names a content type.
const FIELD_CONTENT_TYPE: u32 = 1;
/// Numbers of the control frames.
const ACCEPT: u32 = 1;
const START: u32 = 2;
const STOP: u32 = 3;
const READY: u32 = 4;
const FINISH: u32 = 5;

/// A control frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// The receiver takes this content.
    Accept,
    /// Data follows.
    Start,
    /// No more data.
    Stop,
    /// The sender offers content.
    Ready,
    /// The receiver has everything.
    Finish,
}

/// Reads the payload of a control frame, and whether it names dnstap. A frame that names no content type means any
/// (`fstrm_control_match_field_content_type`).
///
/// # Errors
/// [`Malformed`] with the field.
pub fn control(payload: &[u8]) -> Result<(Control, bool), Malformed> {
    let mut reader = Reader::new(payload);
    let kind = match u32_of(&mut reader, "control type")? {
        ACCEPT => Control::Accept,
        START => Control::Start,
        STOP => Control::Stop,
        READY => Control::Ready,
        FINISH => Control::Finish,
        _ => return Err(Malformed { field: "control type" }),
    };
    let (mut named, mut ours) = (false, false);
    while !reader.is_empty() {
        if u32_of(&mut reader, "control field")? != FIELD_CONTENT_TYPE {
            return Err(Malformed { field: "control field" });
        }
        let length = u32_of(&mut reader, "content type")?;
        let length = usize::try_from(length).map_err(|_| Malformed { field: "content type" })?;
        named = true;
        ours |= reader.take(length, "content type")? == CONTENT_TYPE;
    }
    Ok((kind, ours || !named))
}

/// Four bytes, big-endian.
fn u32_of(reader: &mut Reader<'_>, field: &'static str) -> Result<u32, Malformed> {
    reader.array(field).map(u32::from_be_bytes)
}

/// A whole control frame, escape and length included.
pub fn control_frame(control: Control) -> Vec<u8> {
    let (kind, named) = match control {
        Control::Accept => (ACCEPT, true),
        Control::Start => (START, true),
        Control::Stop => (STOP, false),
        Control::Ready => (READY, true),
        Control::Finish => (FINISH, false),
    };
    let mut payload = kind.to_be_bytes().to_vec();
    if named {
        payload.extend(FIELD_CONTENT_TYPE.to_be_bytes());
        payload.extend(length_of(CONTENT_TYPE));
        payload.extend(CONTENT_TYPE);
    }
    [&[0; 4][..], &length_of(&payload), &payload].concat()
}

/// The four bytes of a length; ours are short.
fn length_of(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes()
}

/// A response that a resolver gave to a client: what it got from others it had not judged yet (RFC 4035 §4.3), so that a
/// forged reply could vouch for an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The client it was given to, where the resolver says so.
    pub client: Option<IpAddr>,
    /// The DNS message.
    pub response: Vec<u8>,
}

/// Reads a data frame; `None` when it tells of nothing that teaches an answer.
///
/// # Errors
/// [`Malformed`] when it is no dnstap message.
pub fn observed(payload: &[u8]) -> Result<Option<Observed>, Malformed> {
    let read = Dnstap::decode(payload).map_err(|_| Malformed { field: "dnstap" })?;
    let Some(message) = read.message.filter(|_| read.kind == KIND_MESSAGE) else { return Ok(None) };
    if message.kind != CLIENT_RESPONSE {
        return Ok(None);
    }
    let Some(response) = message.response_message else { return Ok(None) };
    let client = message.query_address.as_deref().map(address_of).transpose()?;
    Ok(Some(Observed { client, response }))
}

/// An address by its length.
fn address_of(bytes: &[u8]) -> Result<IpAddr, Malformed> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|octets| IpAddr::V4(Ipv4Addr::from(octets)));
    let v6 = || <[u8; 16]>::try_from(bytes).map(|octets| IpAddr::V6(Ipv6Addr::from(octets)));
    v4.or_else(|_| v6())
        .map(|address| address.to_canonical())
        .map_err(|_| Malformed { field: "query_address" })
}

/// `Dnstap.Type.MESSAGE`.
const KIND_MESSAGE: i32 = 1;
/// `Message.Type` of a response given to a client.
const CLIENT_RESPONSE: i32 = 6;

/// `Dnstap` of dnstap.proto, as far as it is read.
#[derive(Clone, PartialEq, prost::Message)]
struct Dnstap {
    /// Kind of payload.
    #[prost(int32, tag = "15")]
    kind: i32,
    /// The payload.
    #[prost(message, optional, tag = "14")]
    message: Option<Told>,
}

/// `Message` of dnstap.proto, as far as it is read.
#[derive(Clone, PartialEq, prost::Message)]
struct Told {
    /// Who said it to whom.
    #[prost(int32, tag = "1")]
    kind: i32,
    /// Who asked.
    #[prost(bytes = "vec", optional, tag = "4")]
    query_address: Option<Vec<u8>>,
    /// The response as it was on the wire.
    #[prost(bytes = "vec", optional, tag = "14")]
    response_message: Option<Vec<u8>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A data frame's payload.
    fn told(kind: i32, client: Option<&[u8]>, response: Option<&[u8]>) -> Vec<u8> {
        let message = Told {
            kind,
            query_address: client.map(<[u8]>::to_vec),
            response_message: response.map(<[u8]>::to_vec),
        };
        Dnstap { kind: KIND_MESSAGE, message: Some(message) }.encode_to_vec()
    }

    #[test]
    fn control_frames_are_read_as_written_and_every_prefix_is_refused() {
        for kind in [Control::Accept, Control::Start, Control::Stop, Control::Ready, Control::Finish] {
            let frame = control_frame(kind);
            assert_eq!(frame[..4], [0; 4]);
            assert_eq!(usize::from(frame[7]), frame.len() - 8);
            assert_eq!(control(&frame[8..]), Ok((kind, true)));
            for end in (9..frame.len()).filter(|end| *end != 12) {
                assert!(control(&frame[8..end]).is_err(), "{kind:?} {end}");
            }
        }
        let other = [&READY.to_be_bytes()[..], &[0, 0, 0, 1, 0, 0, 0, 1, b'x']].concat();
        assert_eq!(control(&other), Ok((Control::Ready, false)));
        assert!(control(&[0, 0, 0, 9]).is_err());
        assert!(control(&[0, 0, 0, 4, 0, 0, 0, 2]).is_err());
        assert!(control(&[0, 0, 0, 4, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]).is_err());
    }

    #[test]
    fn responses_are_told_with_their_client_and_queries_are_not() {
        let client =
            observed(&told(CLIENT_RESPONSE, Some(&[10, 7, 0, 1]), Some(b"answer"))).unwrap().unwrap();
        assert_eq!(client.client, Some("10.7.0.1".parse().unwrap()));
        assert_eq!(client.response, b"answer");
        let mapped = [&[0; 10][..], &[0xff, 0xff, 10, 7, 0, 1]].concat();
        let same = observed(&told(CLIENT_RESPONSE, Some(&mapped), Some(b"answer"))).unwrap().unwrap();
        assert_eq!(same, client);
        // Responses that a resolver (4) or forwarder (8) got are among them: nobody has judged them.
        for kind in [1, 2, 3, 4, 5, 7, 8, 99, -1] {
            assert_eq!(observed(&told(kind, None, Some(b"x"))), Ok(None));
        }
        assert_eq!(observed(&told(CLIENT_RESPONSE, None, None)), Ok(None));
        assert!(observed(&told(CLIENT_RESPONSE, Some(&[1, 2, 3]), Some(b"x"))).is_err());
        assert!(observed(b"\xff\xff").is_err());
        assert_eq!(observed(b""), Ok(None));
    }
}
