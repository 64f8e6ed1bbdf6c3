//! Single values out of an XMP packet, without an XML parser: what is not written in the usual way is not found.

/// Packets are searched this far.
const PACKET_BYTES_MAX: usize = 256 << 10;
/// The longest value that is taken.
const VALUE_BYTES_MAX: usize = 200;

/// The value of a property, written as an attribute or as an element, such as `tiff:Orientation`.
pub(super) fn value<'a>(packet: &'a [u8], name: &str) -> Option<&'a str> {
    let packet = &packet[..packet.len().min(PACKET_BYTES_MAX)];
    memchr::memmem::find_iter(packet, name).find_map(|place| {
        let rest = packet.get(place + name.len()..)?;
        let rest = &rest[..rest.len().min(VALUE_BYTES_MAX)];
        let (value, end) = match *rest {
            [b'=', quote @ (b'"' | b'\''), ..] => (&rest[2..], quote),
            [b'>', ..] if place > 0 && packet[place - 1] == b'<' => (&rest[1..], b'<'),
            _ => return None,
        };
        let length = value.iter().position(|&byte| byte == end)?;
        std::str::from_utf8(&value[..length]).ok().map(str::trim).filter(|text| !text.is_empty())
    })
}
